"""Training a configuration: data, batches, the task head, the loop, and what is kept of it."""
