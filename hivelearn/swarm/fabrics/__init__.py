"""Ways to reach another node; each keeps the contract of `hivelearn.swarm.fabric`."""
