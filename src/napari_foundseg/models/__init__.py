"""Models: the catalogue, the store of weights, and one module for each family."""
