"""Qt tools that do not depend on napari: threads, the event loop, drawing, clean-up."""
