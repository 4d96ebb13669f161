"""One frozen linear map with a low-rank product of its own for each segment of the batch."""
