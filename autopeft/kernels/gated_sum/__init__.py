"""Sums of parts, each times a gate: what several methods of one block add to it."""
