"""What an arrived patch must show before it may serve: screens, probes, rules."""
