"""Sending a run's request and pixels to the worker."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import BadImageError, Cancelled
from napari_foundseg.core.image import Image
from napari_foundseg.engine.image_planes import Index, describe, plane_key, read_plane
from napari_foundseg.models.catalog import row
from napari_foundseg.tasks import find_task

if TYPE_CHECKING:
    from napari_foundseg.engine.job import Job
    from napari_foundseg.engine.link import Link
    from napari_foundseg.tasks.run_request import RunRequest

__all__ = ["RunTransfer"]

#: Bytes of slices that are sent with the request. Further slices are sent when the task reads them, so that neither
#: side holds a whole stack.
_AHEAD_BYTES = 64 << 20
#: Fingerprints and keys of images, which are immutable: a click must not read the slice again.
_fingerprints: WeakKeyDictionary[Image, str] = WeakKeyDictionary()
_keys: WeakKeyDictionary[Image, dict[Index, str]] = WeakKeyDictionary()


class RunTransfer:
    """Sends the request and the slices of one job.

    An array in memory is identified by a hash of its pixels, computed once for each `Image`. A lazy array is assumed to
    be immutable: no pixels are sent if it comes from a file that the worker can open with an equal fingerprint.

    Parameters
    ----------
    job : Job
        The job.
    request : RunRequest
        The job's request.
    link : Link
        The link to the worker.
    device : str or None
        Device for the model.
    """

    def __init__(self, job: Job, request: RunRequest, link: Link, device: str | None) -> None:
        self._job = job
        self._request = request
        self._image = request.image
        self._link = link
        self._device = device
        self._exact = isinstance(self._image.levels[0], np.ndarray)

    def send_request(self) -> Future[Any]:
        """Send the request, with the slices that the run reads first."""
        job = self._job
        run = self._request
        keys, planes = self._choose_planes()
        request = {
            "job": job.id,
            "topic": self._link.topic,
            "task": run.task,
            "inputs": run.inputs.model_dump(mode="json"),
            "method": getattr(run.settings, "method", ""),
            "settings": run.settings.model_dump(mode="json"),
            "row": row(run.model).as_json(),
            "device": self._device,
            "image": describe(self._image, _fingerprint(self._image)),
            "exact": self._exact,
            "keys": keys,
            "reads_once": find_task(run.task).reads_once,
        }
        if job.ended:
            raise Cancelled("The run was cancelled.")
        answer = self._link.ask("run", request, planes)
        self._link.sent.update(planes)
        return answer

    def send_slice(self, index: Index, pixels: bool) -> None:
        """Send a slice that a run requests: its key, or its pixels if the key alone did not suffice."""
        try:
            plane = read_plane(self._image, index)
        except BadImageError as error:
            # The task decides whether to continue without the slice.
            self._link.ask("refuse", self._job.id, index, error.reason)
            return
        key = _keys.setdefault(self._image, {})[index] = plane_key(plane)
        known = not pixels and (key in self._link.sent or self._image.source is not None)
        self._link.ask("deliver", self._job.id, index, key, None if known else plane)
        self._link.sent.add(key)

    def _choose_planes(self) -> tuple[dict[Index, str], dict[str, NDArray[Any]]]:
        keys: dict[Index, str] = {}
        planes: dict[str, NDArray[Any]] = {}
        by_reference = self._image.source is not None
        if by_reference and not self._exact:
            return keys, planes
        size = 0
        known = _keys.setdefault(self._image, {})
        for index in find_task(self._request.task).slices(self._image, self._request.inputs):
            if index in known and (by_reference or known[index] in self._link.sent):
                keys[index] = known[index]
                continue
            plane = read_plane(self._image, index)
            size += plane.nbytes
            if self._job.ended or (keys and size > _AHEAD_BYTES):
                break
            keys[index] = known[index] = plane_key(plane)
            if not by_reference and keys[index] not in self._link.sent:
                planes[keys[index]] = plane
        return keys, planes


def _fingerprint(image: Image) -> str:
    if image not in _fingerprints:
        _fingerprints[image] = image.fingerprint()
    return _fingerprints[image]
