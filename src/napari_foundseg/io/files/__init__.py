"""Files of several kinds: JSON that others may have written, files that belong together, and what changed meanwhile."""
