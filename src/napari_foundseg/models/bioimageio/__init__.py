"""Packages of bioimage.io (versions 0.4 and 0.5 of the format): reading descriptions and running networks."""
