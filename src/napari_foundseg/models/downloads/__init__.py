"""Downloads of weights: the transfer, the state of a model, and its check and removal. Without torch."""
