"""Advice on which model to use for an image, from the rows of the catalogue and from measured times."""
