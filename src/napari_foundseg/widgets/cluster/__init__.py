"""The dock widget *Cluster*."""
