"""STEGO's head and its fit."""
