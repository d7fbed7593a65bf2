"""Where a task runs: a worker process of our own, or one behind a scheduler that the user names."""
