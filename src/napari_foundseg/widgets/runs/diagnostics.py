"""Information on the installation for bug reports."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import qtpy

from napari_foundseg.io.preferences import preferences
from napari_foundseg.widgets.runs.shared_engine import shared_engine

__all__ = ["diagnostics"]

_PACKAGES = (
    "napari-foundseg",
    "napari",
    "npe2",
    "magicgui",
    "numpy",
    "scikit-image",
    "distributed",
    "torch",
    "pydantic",
)


def diagnostics() -> str:
    """Describe the installation and the engine, without pixels or names of images."""
    lines = {"system": platform.platform(), "python": platform.python_version()}
    lines["Qt"] = f"{qtpy.API_NAME} {qtpy.QT_VERSION}"
    lines |= {name: _package_version(name) for name in _PACKAGES}
    engine = shared_engine()
    chosen = preferences()
    lines["device asked for"] = chosen.device
    lines["engine address"] = chosen.address or "own process"
    lines |= {f"engine {name}": str(value) for name, value in engine.diagnostics().items()}
    return "\n".join([*(f"{name}: {value}" for name, value in lines.items()), "engine log:", _engine_log(engine)])


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _engine_log(engine: object) -> str:
    tail = getattr(engine, "log_tail", lambda: "")()
    return tail if isinstance(tail, str) else "\n".join(tail)
