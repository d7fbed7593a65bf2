"""Which model for an image: advice from the rows of the catalogue, and measured times."""
