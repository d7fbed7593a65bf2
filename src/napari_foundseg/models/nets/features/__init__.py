"""Backbones that describe an image by features."""
