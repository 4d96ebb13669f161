"""What to try next: one file a strategy."""
