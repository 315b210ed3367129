"""Where strangers meet: the facade, its configuration and the two stories."""
