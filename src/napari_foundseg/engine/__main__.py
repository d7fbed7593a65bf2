"""``python -m napari_foundseg.engine PARENT_PID FOLDER``: the engine's own process."""

from __future__ import annotations

from napari_foundseg.engine.server import main

if __name__ == "__main__":
    main()
