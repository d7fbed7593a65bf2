"""Edits of label images, their history, and the features of objects."""
