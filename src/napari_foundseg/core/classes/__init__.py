"""Classes of pixels and objects: class tables, panoptic results, and joining of windows and slices."""
