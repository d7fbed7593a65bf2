"""Objects in volumes: flooded in 3-D, and linked from slice to slice."""
