"""Does the work that was submitted: takes jobs from the queue and runs them, whatever happens."""
