"""Talks to a service from Python: the same requests and answers, typed."""
