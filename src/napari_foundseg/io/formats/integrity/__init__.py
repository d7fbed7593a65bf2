"""Checks of files before they are unpacked: sizes, checksums, ends, and codecs."""
