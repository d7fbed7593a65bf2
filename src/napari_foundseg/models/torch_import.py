"""Checks whether torch may be imported into this process now.

If OpenGL is rendered in software (remote desktops, virtual machines), a window loads Mesa's LLVM. Importing torch and
torchvision after that crashes the process, and the user loses everything in the window.
"""

from __future__ import annotations

import sys

from napari_foundseg.core.errors import EngineError

__all__ = ["check_torch_import", "is_torch_unsafe"]


def is_torch_unsafe() -> bool:
    """Return whether importing torch now could crash this process: a Qt application exists, and torch is missing."""
    if "torch" in sys.modules:
        return False
    cores = [module for name, module in list(sys.modules.items()) if name.endswith(".QtCore")]
    applications = (getattr(core, "QCoreApplication", None) for core in cores)
    return any(application is not None and application.instance() is not None for application in applications)


def check_torch_import() -> None:
    """Raise EngineError if importing torch now could crash this process."""
    if is_torch_unsafe():
        raise EngineError(
            "Models are not loaded into a process that has a window: importing torch after the window could end both. "
            'Give the name of the model instead, such as fs.automatic(image, model="foundseg-tiny"), which runs in a '
            "process of its own; or import torch before napari opens its window."
        )
