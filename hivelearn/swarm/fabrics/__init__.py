"""The networks a swarm can run on; each is one row of ``hivelearn.swarm.fabric``."""
