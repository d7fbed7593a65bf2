"""What is kept between sessions: form values and preferences."""
