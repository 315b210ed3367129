"""How one merge is carried out, module by module."""
