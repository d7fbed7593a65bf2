"""Running tasks in workers: our own processes, or those of a scheduler that the user names."""
