"""Run trials: one after another in this process, or many at once on Ray."""
