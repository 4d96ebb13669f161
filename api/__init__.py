"""The service over HTTP: the app, its routes, and who may do what."""
