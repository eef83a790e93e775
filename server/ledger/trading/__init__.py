"""Trading: pairs and their prices, spot orders, options and their settlement, trading control."""
