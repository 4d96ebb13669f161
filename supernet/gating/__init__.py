"""Gates on every cell, trained together with the weights: S3PET's and BIPEFT's search."""
