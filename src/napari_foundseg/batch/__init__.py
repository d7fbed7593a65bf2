"""One recipe over many files: what to do, to which items, whose result is whose, and how to do it again."""
