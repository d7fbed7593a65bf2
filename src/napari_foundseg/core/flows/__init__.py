"""Flows: maps in which every pixel of an object points to its centre, and the objects that are made of them."""
