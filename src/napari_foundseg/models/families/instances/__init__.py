"""Families that segment all objects of an image and take no prompts."""
