"""Controls that several forms use."""
