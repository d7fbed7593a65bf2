"""A window whose form and recovery come from the folder of the preferences: prints what they show, as JSON.

python chosen_folder.py IMAGE.npy
"""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")

import napari  # noqa: E402
from qtpy.QtTest import QTest  # noqa: E402

viewer = napari.Viewer()
viewer.add_image(np.load(sys.argv[1]), name="cells")
_, automatic = viewer.window.add_plugin_dock_widget("napari-foundseg", "Automatic masks")
_, prompt = viewer.window.add_plugin_dock_widget("napari-foundseg", "Prompt")
for _ in range(100):
    if automatic.recovery.isVisibleTo(automatic):
        break
    QTest.qWait(50)
sys.stdout.write(
    json.dumps(
        {
            "min_area": automatic.forms["decoder"].values()["min_area"],
            "recovery": automatic.recovery.isVisibleTo(automatic) and not prompt.recovery.isVisibleTo(prompt),
            "models": [automatic.model.itemData(i) for i in range(automatic.model.count())],
        }
    )
)
viewer.close()
