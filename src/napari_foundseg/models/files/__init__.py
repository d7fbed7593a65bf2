"""Reading model files without running any code in them."""
