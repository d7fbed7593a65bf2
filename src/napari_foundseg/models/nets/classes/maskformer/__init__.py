"""Mask2Former and MaskFormer from their authors' files: names and sizes for transformers, and parts that it lacks."""
