"""The form Propagate."""
