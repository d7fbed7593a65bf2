"""The dock widget *Automatic masks*."""
