"""Families that describe an image by features, and clusters of these."""
