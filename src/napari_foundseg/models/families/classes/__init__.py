"""Families that predict classes: semantic, panoptic and instance segmentation."""
