"""The merge methods, one page for each family."""
