"""Images larger than a model's input: windows, embeddings, the point grid, and the merging of results."""
