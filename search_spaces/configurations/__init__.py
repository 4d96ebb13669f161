"""Published configurations by name: one YAML file each."""
