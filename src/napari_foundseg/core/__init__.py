"""Images, prompts, masks, labels and results as NumPy arrays, without models or windows."""
