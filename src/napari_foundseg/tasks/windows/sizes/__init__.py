"""Sizes: the scale of a picture at which a model sees its objects best."""
