"""One module per file format, and what several formats share."""
