"""The sub-commands of `tallywire`, a topic a file; each imports what it needs when it runs."""
