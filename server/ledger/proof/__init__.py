"""Proof: every invariant checked on what is stored, and copies put right from sound entries."""
