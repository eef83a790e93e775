"""Measurements, side by side with a peer in the same run: read the ratios, not the seconds."""
