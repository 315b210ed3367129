"""Corrections become an announced patch."""
