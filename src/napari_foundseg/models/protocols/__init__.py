"""Protocols through which tasks use models, one module per kind of result."""
