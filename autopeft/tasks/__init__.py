"""What is learned from which data, and how it is scored.

`reading` turns files into a task and its parts; the other files are the steps on the way.
"""
