"""The best factors of a product that is never formed; README.md is the mathematics on a page."""
