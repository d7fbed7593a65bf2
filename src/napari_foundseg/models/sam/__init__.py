"""What the SAM families share."""
