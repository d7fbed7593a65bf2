"""File formats: one module per format with its rows in ``FORMATS``, `table` to look them up, and shared modules."""
