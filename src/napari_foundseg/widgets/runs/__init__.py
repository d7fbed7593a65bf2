"""Runs in the engine: starting and following them, their duration, and export of the last one."""
