"""The dock *Track objects*, and the Tracks layers of results."""
