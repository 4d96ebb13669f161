"""Where the sites of each family of models are: one YAML file a family."""
