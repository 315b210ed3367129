"""The node's place in the swarm: its network, what it offers and what it lets in."""
