"""Tracks: objects of films that keep their ids along time, with parents."""
