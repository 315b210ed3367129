"""The third story: those who teach one subject take turns on one trunk."""
