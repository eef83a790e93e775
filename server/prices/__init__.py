"""From market to process: the simulated market, and the newest prices that a process knows."""
