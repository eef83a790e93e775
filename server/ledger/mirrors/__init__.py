"""Mirrors: copies of a balance in other tables, which the ledger keeps inside its own commit."""
