"""Downloads of weights: the transfer, the state of a model, its check and its removal. Imports no torch."""
