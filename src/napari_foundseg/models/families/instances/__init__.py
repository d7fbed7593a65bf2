"""Families that segment all objects of an image without prompts."""
