"""How patches travel: a protocol without I/O over exchangeable fabrics."""
