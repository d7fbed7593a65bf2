"""Code that the SAM families share."""
