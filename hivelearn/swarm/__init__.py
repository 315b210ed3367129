"""Patches travel: gossip, anti-entropy and verified transfer over exchangeable fabrics."""
