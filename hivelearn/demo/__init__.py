"""The demonstration: three nodes, three subjects, one exchange."""
