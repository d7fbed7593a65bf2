"""Objects of films: found in each frame, linked to tracks with divisions, and checked for export."""
