"""EfficientPS (Mohan and Valada, IJCV 2021), written from the paper: encoder, two-way pyramid, and both heads."""
