"""What networks compute while they are made, on the meta device, which has no numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["SmallNumbersOnCpu"]


class SmallNumbersOnCpu(TorchFunctionMode):
    """Makes `torch.linspace` on the CPU, whose numbers are read in making layers (their rates of dropped paths)."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch."""
        options = dict(kwargs or {})
        if func is torch.linspace:
            options.setdefault("device", "cpu")
        return func(*args, **options)
