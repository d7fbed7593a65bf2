"""Networks in ONNX files: descriptions of input and output, facts from the graph, and running them."""
