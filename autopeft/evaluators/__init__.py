"""How trials are measured, one file a way."""
