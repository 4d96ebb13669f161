"""What can be searched: methods and their costs, configurations, and spaces over them.

`published` holds the spaces and `configurations` the named configurations that come along, as YAML;
`written` reads such files and lays them over a backbone.
"""
