"""One file a method: the module that is trained, and how it takes its place in a block.

`inject` puts the modules of a configuration into a backbone and takes them out again.
"""
