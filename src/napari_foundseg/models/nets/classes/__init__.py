"""Networks that classify pixels."""
