"""The command line: what a person types, and what the exit code says."""
