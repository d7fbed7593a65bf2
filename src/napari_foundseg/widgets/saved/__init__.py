"""Values that are kept between sessions: form values and preferences."""
