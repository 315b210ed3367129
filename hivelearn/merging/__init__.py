"""Many adapters become one, in the space of their products, never of their factors."""
