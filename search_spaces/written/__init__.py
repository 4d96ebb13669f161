"""Spaces and configurations as written: YAML to records, records laid over a backbone."""
