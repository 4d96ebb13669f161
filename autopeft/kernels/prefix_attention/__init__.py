"""Attention over learned keys and values and the sequence."""
