"""Planes of pixels, identified by their content so that each is sent only once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from napari_foundseg.core.contrast import FoundLimits, Normalisation
from napari_foundseg.core.errors import BadImageError, FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.core.pixels.fading import Fading
from napari_foundseg.core.pixels.outliers import BurntIn

__all__ = ["Index", "PlaneStore", "SentImage", "describe", "plane_key", "read_plane"]

Index = tuple[int, ...]
_NORMALISATION: TypeAdapter[Any] = TypeAdapter(Normalisation | None)


def read_plane(image: Image, index: Index) -> NDArray[Any]:
    """Return one slice of an image, (M, N) or (M, N, C), contiguous; raise a BadImageError if a lazy array fails."""
    try:
        return np.ascontiguousarray(image.raw(index))
    except FoundsegError:
        raise
    except Exception as error:
        where = f"slice {index}" if index else "the image"
        raise BadImageError(image.source, f"{where} cannot be read ({type(error).__name__}: {error})") from error


def plane_key(plane: NDArray[Any]) -> str:
    """Return a hash of a contiguous plane's dtype, shape and pixels."""
    digest = hashlib.sha256(f"{plane.dtype.str} {plane.shape}".encode())
    digest.update(plane.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


class PlaneStore:
    """Planes by key, up to a limit in bytes; the least recently used are dropped first.

    Parameters
    ----------
    limit : int
        Maximum size in bytes; the latest plane is kept even if it is larger.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Planes arrive on the event loop, and the compute thread reads them.
        self._lock = Lock()
        self._planes: OrderedDict[str, NDArray[Any]] = OrderedDict()

    def get(self, key: str | None) -> NDArray[Any] | None:
        """Return a plane, or None if it is not in the store."""
        with self._lock:
            if key is None or key not in self._planes:
                return None
            self._planes.move_to_end(key)
            return self._planes[key]

    def put(self, key: str, plane: NDArray[Any]) -> None:
        """Store a plane, and drop the least recently used ones if the limit is exceeded."""
        with self._lock:
            self._planes[key] = plane
            self._planes.move_to_end(key)
            while len(self._planes) > 1 and sum(p.nbytes for p in self._planes.values()) > self._limit:
                self._planes.popitem(last=False)


def describe(image: Image, fingerprint: str) -> dict[str, Any]:
    """Return an image's metadata for `SentImage`, with its grey-value limits, since a worker reads only some slices."""
    chosen = image.normalisation
    return {
        "shape": tuple(int(n) for n in image.levels[0].shape),
        "dtype": image.dtype.str,
        "axes": image.axes,
        "channels": tuple(image.chosen_channels) or None,
        "channel_names": image.channel_names,
        "normalisation": None if chosen is None else chosen.model_dump(mode="json"),
        "spacing": dict(image.spacing),
        "units": dict(image.units),
        "source": image.source,
        "limits": image.limits,
        "burnt_in": image.burnt_in,
        "fading": image.fading,
        "doubts": image.known_doubts,
        "suspicion": image.suspicion if "_measured" in vars(image) else "",
        "fingerprint": fingerprint,
        "colour": image.colour,
        "slab": image.slab,
    }


class SentImage(Image):
    """An image in the worker whose slices are requested from the window when they are read.

    Parameters
    ----------
    described : dict
        The return value of `describe`.
    fetch : callable
        Returns the plane of a slice, given its index.
    """

    def __init__(self, described: dict[str, Any], fetch: Callable[[Index], NDArray[Any]]) -> None:
        rest = dict(described)
        limits = tuple(rest.pop("limits"))
        burnt_in = rest.pop("burnt_in")
        fading = rest.pop("fading")
        found = FoundLimits(
            limits[0],
            limits[1],
            suspicion=rest.pop("suspicion"),
            burnt_in=burnt_in and BurntIn(*burnt_in),
            fading=fading and Fading(*map(tuple, fading)),
        )
        measured = found, rest.pop("doubts")
        fingerprint = rest.pop("fingerprint")
        absent = _Absent(rest.pop("shape"), np.dtype(rest.pop("dtype")))
        normalisation = _NORMALISATION.validate_python(rest.pop("normalisation"))
        super().__init__(absent, normalisation=normalisation, **rest)
        # The dataclass is frozen; these are stored where its cached properties would be.
        self.__dict__.update(limits=limits, _measured=measured, _fetch=fetch, _fingerprint=fingerprint)

    def fingerprint(self) -> str:
        """Return the fingerprint that the window computed."""
        return str(self.__dict__["_fingerprint"])

    def _read(
        self,
        level: int,
        index: Index,
        box: tuple[int, int, int, int] | None,
        channels: tuple[int, ...] | None = None,
    ) -> NDArray[Any]:
        if len(index) != len(self.slice_axes):
            return super()._read(level, index, box, channels)
        plane: NDArray[Any] = self.__dict__["_fetch"](tuple(int(i) for i in index))
        return plane if box is None else plane[box[0] : box[2] + 1, box[1] : box[3] + 1]


class _Absent:
    """Shape and dtype of an array whose pixels are in another process."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype
