"""The networks of our own. Torch is imported at the top here, and only here."""
