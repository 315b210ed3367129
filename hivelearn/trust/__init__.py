"""How far an author is believed: vouches, measured outcomes, weights."""
