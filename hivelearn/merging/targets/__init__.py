"""Whole models that a merge goes into: a folder that is copied, an open one that is changed."""
