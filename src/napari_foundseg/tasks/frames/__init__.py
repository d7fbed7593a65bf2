"""Parts of the task Propagate: objects followed from slice to slice."""
