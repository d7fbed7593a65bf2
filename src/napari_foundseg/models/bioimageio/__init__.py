"""Packages of bioimage.io (versions 0.4 and 0.5 of its description): what they say, and running their networks."""
