"""Devices for models."""

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
    """Return the device to use; raise EngineError if it is not available.

    The preference is ``auto`` or a torch device such as ``cuda:1``; by default FOUNDSEG_DEVICE, or else ``auto``. With
    ``auto`` the first available of CUDA, MPS and the CPU is used.
    """
    wanted = preference or os.environ.get("FOUNDSEG_DEVICE") or "auto"
    there = _available()
    if wanted == "auto":
        return next(name for name, available in there.items() if available)
    if not there.get(wanted.partition(":")[0], False):
        names = ", ".join(name for name, available in there.items() if available)
        raise EngineError(f"Device {wanted!r} is not available here; choose auto or one of {names}.")
    return wanted


def gpus() -> list[str]:
    """Return the available kinds of GPU."""
    return [name for name, there in _available().items() if there and name != "cpu"]


@cache
def half_precision(device: str) -> torch.dtype | None:
    """Return the half-precision dtype that is faster than float32 on a device; None if there is none."""
    import torch

    kind = device.partition(":")[0]
    if kind == "cpu":
        # Older versions of torch do not have this function.
        able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else None
    if kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return None


@cache
def _available() -> dict[str, bool]:
    """Return the available kinds of device. The result is cached, since some drivers take milliseconds."""
    import torch

    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
