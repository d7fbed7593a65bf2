"""Networks in ONNX files: what they take and return, what their graph says of it, and running them."""
