"""The shop: an application that had a package named `server` before it met Tallywire."""
