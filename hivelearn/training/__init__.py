"""Corrections to an adapter, one optimizer step at a time."""
