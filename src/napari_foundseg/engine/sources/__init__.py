"""Where workers come from, one module each: its `SOURCE` is found by `engine.worker_source`."""
