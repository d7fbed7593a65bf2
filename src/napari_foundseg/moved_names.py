"""Names that scripts of version 0.1 import from modules which are no longer public: they work, with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["warn_and_forward"]


def warn_and_forward(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a module, whose names are now at ``package.module:name``."""

    def forward(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = names[name].partition(":")
        warnings.warn(
            f"{module}.{name} is now napari_foundseg.{new}: write `import napari_foundseg as fs` and `fs.{new}`. "
            "The old name is removed in the next version.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(home), new)

    return forward
