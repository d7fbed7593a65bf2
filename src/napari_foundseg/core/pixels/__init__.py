"""Measurements on a sample of an image's pixels, and the choice of its channels."""
