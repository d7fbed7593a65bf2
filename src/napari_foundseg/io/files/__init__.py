"""JSON files of any origin, files that belong together, and detection of changes by others."""
