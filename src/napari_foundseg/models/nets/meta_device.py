"""Support for making networks on the meta device, which has no numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["SmallNumbersOnCpu"]


class SmallNumbersOnCpu(TorchFunctionMode):
    """Mode in which `torch.linspace` runs on the CPU, since making a layer reads its numbers (drop-path rates)."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch; `torch.linspace` on the CPU."""
        options = dict(kwargs or {})
        if func is torch.linspace:
            options.setdefault("device", "cpu")
        return func(*args, **options)
