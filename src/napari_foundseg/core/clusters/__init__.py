"""Clusters of features, the CRF that refines their borders, and how well they match a reference."""
