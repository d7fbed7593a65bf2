"""Provenance: everything that is needed to run a task again, as plain JSON."""

from __future__ import annotations

import platform
import sys
import time
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from napari_foundseg.core.contrast import Percentile
from napari_foundseg.models.abilities import NO_GPU, fallbacks_of
from napari_foundseg.models.catalog import row
from napari_foundseg.models.families import families, family_names
from napari_foundseg.models.family import installed_version

if TYPE_CHECKING:
    from napari_foundseg.models.protocols.objects import Model
    from napari_foundseg.tasks.run_request import RunRequest

__all__ = ["record", "versions"]

#: Packages that every result depends on; the packages of model families are added.
_PACKAGES = ("napari-foundseg", "torch", "numpy", "scikit-image")


def record(request: RunRequest, model: Model, started: float) -> dict[str, Any]:
    """Describe a run as JSON-able values, from which `batch.replay` can run it again.

    Parameters
    ----------
    request : RunRequest
        The run.
    model : Model
        The loaded model.
    started : float
        `time.perf_counter` at the start.
    """
    image = request.image
    weights = row(model.name)
    return {
        "task": request.task,
        "model": {
            "name": model.name,
            "key": model.key,
            "revision": weights.revision,
            "sha256": weights.sha256,
            "device": model.device,
            "threads": _threads(),
        },
        "fallbacks": _fallbacks(model),
        "settings": request.settings.model_dump(mode="json"),
        "inputs": request.inputs.model_dump(mode="json"),
        "image": {
            "source": image.source,
            "fingerprint": image.fingerprint(),
            "shape": list(image.shape),
            "dtype": str(image.dtype),
            "axes": image.label_axes,
            "array_axes": image.axes,
            "channels": list(image.chosen_channels),
            "channel_names": list(image.channel_names),
            "channel_choice": image.channel_choice,
            **({"colour": image.colour.to_record()} if image.colour is not None else {}),
            "normalisation": (image.normalisation or Percentile()).model_dump(mode="json"),
            "limits": list(image.limits),
            **({"slab": image.slab.model_dump(mode="json")} if image.slab is not None else {}),
            "spacing": dict(image.spacing),
            "units": dict(image.units),
        },
        "versions": dict(versions()),
        "seconds": round(time.perf_counter() - started, 3),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on; cached, so that a click does not wait for them."""
    return _versions(family_names())


@cache
def _versions(_families: tuple[str, ...]) -> dict[str, str]:
    system = f"{platform.system()} {platform.machine()}"
    of_families = {package.name for module in families().values() for package in module.FAMILY.packages}
    packages = {name: found for name in (*_PACKAGES, *sorted(of_families)) if (found := installed_version(name))}
    return {"system": system, "python": platform.python_version(), **packages}


def _threads() -> int | None:
    """Return the number of threads of torch, on which the last digits of sums of floats depend."""
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


def _fallbacks(model: Model) -> list[str]:
    """Describe in words each case in which the run could not use its first choice, such as a GPU."""
    from napari_foundseg.models.device import gpus

    no_gpu = [NO_GPU] if model.device == "cpu" and not gpus() else []
    return [*no_gpu, *fallbacks_of(model).taken()]
