"""Families that compute features of an image, and clusters of features."""
