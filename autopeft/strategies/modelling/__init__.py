"""Models of what a training will score."""
