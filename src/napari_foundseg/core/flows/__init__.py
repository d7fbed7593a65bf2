"""Flows: maps in which every pixel of an object points to its centre, and objects made from flows."""
