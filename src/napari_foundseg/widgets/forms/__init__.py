"""The base classes of all dock widgets and forms."""
