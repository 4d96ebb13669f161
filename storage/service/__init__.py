"""What the service remembers, in the same database as studies."""
