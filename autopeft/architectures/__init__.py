"""One YAML file an architecture: where in a block its sites are."""
