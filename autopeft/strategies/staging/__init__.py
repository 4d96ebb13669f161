"""One decision after another, each by the means of several trainings."""
