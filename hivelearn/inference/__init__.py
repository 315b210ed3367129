"""Running a model: one engine, its experts, the router between them, answers."""
