"""Editing Labels layers: undo, the recovery journal, and writing masks."""
