"""The public test kit: a hand-moved clock, a lossy memory fabric, small models."""
