"""Python in napari's console, or in a script whose viewer is open: models run, and the window lives on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import napari_foundseg as fs
from napari_foundseg.io.samples import sample
from tests.support import child_environment

pytestmark = pytest.mark.gui

_SCRIPT = """
import json, sys
import napari
import numpy as np
from qtpy.QtWidgets import QApplication
import napari_foundseg as fs
from napari_foundseg.io.samples import sample
from napari_foundseg.io.readers import read_image

if __name__ == "__main__":
    viewer = napari.Viewer()
    pixels = np.asarray(read_image(sample("nuclei")).levels[0])[:200, :200]
    viewer.add_image(pixels)
    # Drawn with OpenGL: what loads Mesa's LLVM.
    viewer.screenshot(canvas_only=False)
    told = []
    found = {"automatic": len(fs.automatic(viewer.layers[0].data))}
    found["run"] = len(fs.run("automatic", pixels, {}, model="foundseg-tiny", progress=lambda *news: told.append(news)))
    found["prompt"] = len(fs.prompt(pixels, fs.Prompt(box=(20, 20, 60, 60))))
    found["told"] = all(0 <= share <= 1 and words for share, words in told)
    errors = []
    for wrong in (lambda: fs.load_model("foundseg-tiny"), lambda: fs.automatic(pixels, model="nothing"),
                  lambda: fs.automatic(pixels, min_area="many")):
        try:
            wrong()
        except fs.FoundsegError as error:
            errors.append(f"{type(error).__name__}: {error}")
    viewer.screenshot(canvas_only=False)
    print(json.dumps({"found": found, "errors": errors, "torch": "torch" in sys.modules}), flush=True)
    viewer.close()
"""


def test_public_functions_in_a_process_with_a_window_find_what_they_find_elsewhere(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    ran = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=child_environment(LIBGL_ALWAYS_SOFTWARE="1", OMP_NUM_THREADS="1"),
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads(ran.stdout.splitlines()[-1])
    pixels = np.asarray(fs.read_image(sample("nuclei")).levels[0])[:200, :200]
    expected = len(fs.automatic(pixels))
    assert expected > 3
    assert told["found"] == {"automatic": expected, "run": expected, "prompt": 1, "told": True}
    assert not told["torch"], "the window's process never imports it"
    loading, missing, setting = told["errors"]
    assert loading.startswith("EngineError: Models are not loaded into a process that has a window")
    assert missing.startswith("ModelNotFoundError")
    assert setting.startswith("SettingsError")
