"""Images, prompts, masks, labels and results: NumPy in, NumPy out, no model and no window."""
