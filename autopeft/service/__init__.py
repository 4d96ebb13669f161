"""What a team shares: jobs and their history, data sets, keys; and what keeps them."""
