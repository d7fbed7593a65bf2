"""Families that classify pixels: semantic, panoptic and instance segmentation."""
