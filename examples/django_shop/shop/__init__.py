"""What the shop sells, and to whom."""
