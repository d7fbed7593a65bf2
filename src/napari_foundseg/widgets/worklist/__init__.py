"""The dock widget *Worklist*."""
