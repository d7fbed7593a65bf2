"""Models: the catalogue, the weight store, and one module a family."""
