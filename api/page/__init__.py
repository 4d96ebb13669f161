"""The page in a browser: static files that talk to the same routes as everybody."""
