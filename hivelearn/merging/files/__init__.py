"""Adapters and models on disk: read as mapped files, written module by module."""
