"""From the journal to other servers: what was committed is posted to them, signed and in order."""
