"""Parts of the task *Find similar*: examples, features, and proposals."""
