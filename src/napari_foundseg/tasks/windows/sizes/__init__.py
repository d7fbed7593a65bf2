"""Images larger than a model's input: windows, embeddings, the point grid, and how results are joined."""
