"""What can be searched: methods and their costs, configurations, and spaces over them.

Each YAML file beside this one is a published search space, or the union of all.
"""
