"""Processes that take jobs from the queue and do them."""
