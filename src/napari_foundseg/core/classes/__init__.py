"""Classes of pixels and objects: class tables, panoptic results, and how windows and slices are joined."""
