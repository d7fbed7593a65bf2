"""The network of Cellpose-SAM."""
