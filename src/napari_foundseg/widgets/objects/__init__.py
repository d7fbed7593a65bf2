"""The dock widgets *Correct* and *Objects*."""
