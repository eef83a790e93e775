"""Building management: what the apartments owe is in the ledger, and nowhere else."""
