"""The dock widget *Prompt*."""
