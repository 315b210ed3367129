"""Whom one believes and how much: vouches, evidence, and the weight of each author in a merge."""
