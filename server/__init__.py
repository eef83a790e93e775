"""Tallywire: a balance ledger with real-time delivery."""
