"""The window: dock widgets, and everything that knows Qt or napari."""
