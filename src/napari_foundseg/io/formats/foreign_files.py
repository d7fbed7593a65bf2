"""Recognise files of unsupported kinds by their first bytes, for messages."""

from __future__ import annotations

__all__ = ["name_foreign_file"]

_CONVERT = "export it as TIFF or OME-TIFF, for example with Fiji"
#: First bytes, kind of file, and remedy.
_STARTS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "run `git lfs pull` in its folder"),
    (b"<!doctype html", "a web page, not an image", "download the file itself, not the page that shows it"),
    (b"<html", "a web page, not an image", "download the file itself, not the page that shows it"),
    (b"<?xml", "an XML text, not an image", "give the image that belongs to it"),
    (b"\0" * 16, "a file that begins with zeros", "its copy or download was broken off; copy it again"),
    (b"%pdf", "a PDF document", "export the picture in it as TIFF or PNG"),
    (b"gif8", "a GIF", "save it as PNG"),
    (b"bm", "a BMP", "save it as PNG"),
    (b"riff", "a WebP picture or a film", "save it as PNG or TIFF"),
    (b"pk\x03\x04", "a ZIP archive", "unpack it"),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"\x89hdf", "an HDF5 file", _CONVERT),
    (b"zisrawfile", "a CZI file of Zeiss", _CONVERT),
    (b"\xda\xce\xbe\x0a", "an ND2 file of Nikon", _CONVERT),
    (b"\xd0\xcf\x11\xe0", "an OLE file, such as OIB or ZVI", _CONVERT),
    (b"\0\0\0\x0cjp", "a JPEG 2000", "save it as TIFF"),
    (b"\xffo\xff\x51", "a JPEG 2000", "save it as TIFF"),
)


def name_foreign_file(start: bytes) -> str:
    """Return the kind of a file and a remedy; empty if its first bytes are unknown."""
    plain = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, what, remedy in _STARTS:
        if start.lower().startswith(magic) or plain.startswith(magic):
            return f"it is {what}; {remedy}"
    return ""
