"""Rounds on a shared trunk: several who teach one subject learn as if they had one notebook."""
