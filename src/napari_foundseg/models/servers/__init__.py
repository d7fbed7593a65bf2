"""Models that run on a server of the user."""
