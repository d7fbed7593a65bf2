"""What is measured of the pixels of an image, on a sample of them, and which of its channels are used."""
