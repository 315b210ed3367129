"""What to merge and how: recipes, methods and their settings. Loads no torch."""
