"""Measurements of objects, and their comparison with a reference."""
