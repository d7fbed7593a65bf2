"""Families that relate images to text."""
