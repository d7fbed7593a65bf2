"""What tasks may ask of a model: protocols by what they return."""
