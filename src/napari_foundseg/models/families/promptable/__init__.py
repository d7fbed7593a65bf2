"""Families that turn prompts into masks: SAM and its relatives."""
