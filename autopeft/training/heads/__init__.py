"""What stands on a backbone, one file a form of data: how it is encoded, its loss, its predictions.

`model` is the socket that each fills; `choice` picks the one for a task.
"""
