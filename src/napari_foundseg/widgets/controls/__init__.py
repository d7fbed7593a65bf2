"""Controls that are shared by several forms."""
