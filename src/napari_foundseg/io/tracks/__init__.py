"""Files of tracks: results of the Cell Tracking Challenge, and GEFF."""
