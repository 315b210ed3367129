"""Whether this machine may work now: readings in, permits out."""
