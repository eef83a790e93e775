"""Wallets of DeltaCoins and the profiles that show them; the money is kept by Tallywire."""
