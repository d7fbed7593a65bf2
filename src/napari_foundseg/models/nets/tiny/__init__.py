"""The network of foundseg-tiny."""
