"""Arrays of a file of several, read whole: an open one that garbage collection finds would be an error of any test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` file by name."""
    with np.load(path) as file:
        return dict(file)
