"""Base classes of all dock widgets and forms."""
