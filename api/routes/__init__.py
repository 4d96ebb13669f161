"""One file a resource of the service."""
