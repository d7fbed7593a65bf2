"""Runs tasks in workers: processes of our own, or those of a scheduler that the user names."""
