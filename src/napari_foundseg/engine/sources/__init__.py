"""Sources of workers, one module each; `engine.worker_source` finds the `SOURCE` of every module."""
