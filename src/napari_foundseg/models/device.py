"""Which device a model runs on."""

from __future__ import annotations

import os
from functools import cache

from napari_foundseg.core.errors import EngineError

__all__ = ["DEVICES", "choose_device", "gpus"]

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(preference: str | None = None) -> str:
    """Return the device to use, as torch writes it.

    Parameters
    ----------
    preference : str, optional
        ``auto`` or a torch device such as ``cpu`` or ``cuda:1``; by default the environment's
        ``FOUNDSEG_DEVICE``, else ``auto``: the first of CUDA, Apple's MPS and the CPU that is there.

    Returns
    -------
    str
        The device.

    Raises
    ------
    EngineError
        If the device was asked for and is not there.
    """
    wanted, there = preference or os.environ.get("FOUNDSEG_DEVICE") or "auto", _available()
    if wanted == "auto":
        return next(name for name, available in there.items() if available)
    if not there.get(wanted.partition(":")[0], False):
        names = ", ".join(name for name, available in there.items() if available)
        raise EngineError(f"Device {wanted!r} is not available here; choose auto or one of {names}.")
    return wanted


def gpus() -> list[str]:
    """Return the kinds of GPU that are here.

    Returns
    -------
    list of str
        As torch writes them.
    """
    return [name for name, there in _available().items() if there and name != "cpu"]


@cache
def _available() -> dict[str, bool]:
    """Return what is there, asked once: some drivers take milliseconds to answer."""
    import torch

    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
