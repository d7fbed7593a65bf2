"""The dock widgets of tasks with classes: *Text*, *Panoptic*, *Semantic* and *Name the masks*."""
