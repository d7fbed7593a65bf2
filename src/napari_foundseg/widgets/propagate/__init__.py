"""The form *Propagate*."""
