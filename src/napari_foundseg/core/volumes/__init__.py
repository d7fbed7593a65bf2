"""Objects in volumes and films: linked from slice to slice, followed through time, edited in 3-D."""
