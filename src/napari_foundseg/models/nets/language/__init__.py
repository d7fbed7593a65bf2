"""Networks that compare pictures with texts."""
