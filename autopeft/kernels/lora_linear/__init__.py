"""A frozen linear map plus a scaled low-rank product."""
