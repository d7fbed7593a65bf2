"""File formats: one module a format with its rows in ``FORMATS``, `table` to ask them, and shared modules."""
