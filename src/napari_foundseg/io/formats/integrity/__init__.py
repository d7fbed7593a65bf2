"""What files hold is checked before it is unpacked: sizes, checksums, ends, and codecs."""
