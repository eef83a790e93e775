"""What people do, as transactions: who may ask for what, and which change that is."""
