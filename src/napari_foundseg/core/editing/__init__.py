"""Edits of label images, their history, and what is kept of each object."""
