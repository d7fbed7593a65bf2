"""Recipes that run over many files: the items, their results, and how to repeat a run."""
