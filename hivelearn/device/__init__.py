"""May this machine learn now? Readings, permits, and the loop that paces work by them."""
