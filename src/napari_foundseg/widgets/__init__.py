"""The window: dock widgets, and all code that uses Qt or napari."""
