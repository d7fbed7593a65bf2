"""Networks of the SAM families."""
