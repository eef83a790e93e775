"""`python -m tallywire` is the `tallywire` command."""

from .cli import main

main()
