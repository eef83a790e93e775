"""The money side of a trading site: users, roles and sessions are its own, balances Tallywire's."""
