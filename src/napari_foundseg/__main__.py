"""``python -m napari_foundseg``: the command line."""

from __future__ import annotations

from napari_foundseg.cli import main

if __name__ == "__main__":
    main()
