"""The dock widget *Models*."""
