"""Features times a factor each, plus a shift each."""
