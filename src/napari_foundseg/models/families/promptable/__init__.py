"""Families that predict masks from prompts: SAM and its relatives."""
