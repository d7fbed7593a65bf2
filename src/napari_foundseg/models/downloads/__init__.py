"""Downloads of weights: the transfer, what is here of a model, and its check and removal. Without torch."""
