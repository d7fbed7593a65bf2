"""Qt tools without napari: threads, the event loop, drawing, clean-up."""
