"""Published search spaces, and the union of them: one YAML file each."""
