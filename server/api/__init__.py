"""The HTTP edge: parses, authenticates, asks the operations, and answers."""
