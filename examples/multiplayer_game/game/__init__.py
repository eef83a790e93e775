"""A server of multiplayer games, whose players' money is kept by Tallywire."""
