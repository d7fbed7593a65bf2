"""Runs in the engine: starting and following them, estimating their duration, and exporting the last one."""
