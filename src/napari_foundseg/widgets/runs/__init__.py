"""Runs in the engine: starting and following them, how long they take, and what can be made of the last one."""
