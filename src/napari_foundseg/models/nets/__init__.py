"""Our own networks. Only modules in this package import torch at the top."""
