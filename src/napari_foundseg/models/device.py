"""Which device a model runs on."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from napari_foundseg.core.errors import EngineError

if TYPE_CHECKING:
    import torch

__all__ = ["DEVICES", "choose_device", "gpus", "half_precision"]

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
def half_precision(device: str) -> torch.dtype | None:
    """Return the dtype of half the width in which a device computes faster than in float32.

    Parameters
    ----------
    device : str
        As torch writes it.

    Returns
    -------
    torch.dtype or None
        None where there is none: a CPU without instructions for bfloat16 is a hundred times slower in it.
    """
    import torch

    kind = device.partition(":")[0]
    if kind == "cpu":
        # Older torch cannot tell.
        able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else None
    if kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return None


@cache
def _available() -> dict[str, bool]:
    """Return what is there, asked once: some drivers take milliseconds to answer."""
    import torch

    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
