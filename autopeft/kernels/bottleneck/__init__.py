"""The body of an adapter: down, activation, up, scale."""
