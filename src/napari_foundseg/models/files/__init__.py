"""Reading model files without running anything in them."""
