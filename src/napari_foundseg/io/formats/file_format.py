"""`Format`: one row of the table of file formats. `FileHead`: the first bytes of a file, which tell its format."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from napari_foundseg.io.formats.content import FileContent
from napari_foundseg.io.formats.inside import ImageInside

__all__ = ["FileHead", "Format"]

_BLOCK = 1 << 14


class FileHead:
    """The first bytes of a file. Each format reads as many as it needs.

    Parameters
    ----------
    path : Path
        A file, or a folder for formats that are folders.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = b""
        self._whole = False

    def read(self, size: int) -> bytes:
        """Return the first bytes of the file as they are on the disk.

        Parameters
        ----------
        size : int
            Number of bytes.

        Returns
        -------
        bytes
            Fewer if the file is shorter; empty if the path is a folder or a device.

        Raises
        ------
        OSError
            If the file cannot be opened.
        """
        if len(self._start) < size and not self._whole:
            if self.path.exists() and not self.path.is_file():
                # Opening a pipe blocks until another process writes to it.
                return b""
            with self.path.open("rb") as file:
                self._start = file.read(max(size, _BLOCK))
            self._whole = len(self._start) < max(size, _BLOCK)
        return self._start[:size]

    def unzipped(self, size: int) -> bytes:
        """Return the first bytes of the content, decompressed if the file is gzip.

        Parameters
        ----------
        size : int
            Number of bytes after decompression.

        Returns
        -------
        bytes
            Fewer if the content is shorter, or damaged after them. As `read` if the file is not gzip.

        Raises
        ------
        OSError
            If the file cannot be opened.
        """
        if self.read(2) != b"\x1f\x8b":
            return self.read(size)
        content = b""
        gunzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
        # Bytes before damage are enough to recognise the format; its reader then reports the damage.
        with self.path.open("rb") as file, suppress(zlib.error):
            while len(content) < size and not gunzip.eof and (block := file.read(_BLOCK)):
                content += gunzip.decompress(block, size - len(content))
        return content

    def holds(self, *names: str) -> bool:
        """Tell whether the path is a folder that contains a file of one of these names.

        Parameters
        ----------
        *names : str
            Names of files.

        Returns
        -------
        bool
            False for a file, and for a folder that cannot be read.
        """
        with suppress(OSError, ValueError):
            return any((self.path / name).is_file() for name in names)
        return False


@dataclass(frozen=True)
class Format:
    """One file format. A module of `io.formats` lists its rows in ``FORMATS``.

    Parameters
    ----------
    name : str
        Name in error messages and help texts, such as ``"PNG"``.
    read_endings : tuple of str
        Endings of the files that are read, in lower case with their dots, such as ``(".nii", ".nii.gz")``. They decide
        which files of a folder are images.
    recognises : callable, optional
        Tells from a `FileHead` whether a file has this format. The ending does not matter: a PNG named ``.tif`` is
        read as PNG. No two formats may recognise the same file.
    read : callable, optional
        Takes path and axes (or None) and returns a `FileContent`; raises `BadImageError` or `AxesError`. Give both
        `recognises` and `read`, or neither.
    write_endings : tuple of str
        Endings of label files to write, the preferred one first.
    write : callable, optional
        Takes path and `FileContent` and writes a label image completely or not at all; raises `OutputError`.
    images : callable, optional
        Takes the path of a file or folder of this format and lists the images in it, such as the fields of a plate;
        empty if it is one image. `read` takes the path of each: the path of the file, a slash, and the image's name.
        Without this function, a file is one image.
    data_set : callable, optional
        Takes the path of a file of this format and returns the file that represents its whole data set, if several
        files are one image; otherwise the path itself. It must be fast, since it is called for every file of a folder.
    folder : bool
        Whether an image is a folder and not a file.
    properties : bool
        Whether the file itself contains the table of the objects, and their colours. By default the table is a CSV
        file of the same name.
    axes : str
        The axes that a label file supports; ``"YX"`` for one slice. It is checked before a run.
    largest_id : int
        The largest id that a label file supports.
    order : int
        Position in lists. If an image has several label files, that of the first format is opened.
    """

    name: str
    read_endings: tuple[str, ...] = ()
    recognises: Callable[[FileHead], bool] | None = None
    read: Callable[[Path, str | None], FileContent] | None = None
    write_endings: tuple[str, ...] = ()
    write: Callable[[Path, FileContent], None] | None = None
    images: Callable[[Path], list[ImageInside]] | None = None
    data_set: Callable[[Path], Path] | None = None
    folder: bool = False
    properties: bool = False
    axes: str = "QTZYX"
    largest_id: int = (1 << 64) - 1
    order: int = 100

    def __post_init__(self) -> None:
        for ending in (*self.read_endings, *self.write_endings):
            if not ending.startswith(".") or ending != ending.lower() or len(ending) < 2:
                raise ValueError(
                    f"{self.name}: the ending {ending!r} must begin with a dot and be in lower case, such as '.tif'."
                )
        if (self.recognises is None) != (self.read is None):
            raise ValueError(f"{self.name}: give `recognises` and `read` together, or neither.")
        if self.read_endings and self.read is None:
            raise ValueError(f"{self.name}: read_endings={self.read_endings} need `recognises` and `read`.")
        if bool(self.write_endings) != (self.write is not None):
            raise ValueError(f"{self.name}: give `write_endings` and `write` together, or neither.")
        if not set("YX") <= set(self.axes) <= set("QTZYX"):
            raise ValueError(f"{self.name}: axes={self.axes!r} must be letters of 'QTZYX', Y and X among them.")

    def can_hold(self, axes: str, largest_id: int = 0) -> bool:
        """Tell whether a file of this format supports labels with some axes and ids.

        Parameters
        ----------
        axes : str
            The axes of the labels.
        largest_id : int
            Their largest id.

        Returns
        -------
        bool
            False for a format in which labels are not written.
        """
        return self.write is not None and set(axes) <= set(self.axes) and largest_id <= self.largest_id
