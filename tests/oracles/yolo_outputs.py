"""Write tests/data/yolo/outputs.npz: what ultralytics makes of the small network and picture.

Runs where ultralytics 8.4 (AGPL-3.0) is installed, which the project does not need and never imports:
``PYTHONPATH=. python tests/oracles/yolo_outputs.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import SegmentationModel

from tests.support.small_yolo import CLASSES, WIDTH, picture, shapes, weights

FOLDER = Path(__file__).parents[1] / "data" / "yolo"


def main() -> None:
    yolo = YOLO("yolov8n-seg.yaml")
    described = {**yolo.model.yaml, "scales": {"t": [0.33, WIDTH, 1024]}, "scale": "t", "nc": len(CLASSES)}
    network = SegmentationModel(described, ch=3, nc=len(CLASSES), verbose=False).eval()
    found = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert found == shapes(), {k: (found.get(k), shapes().get(k)) for k in found.keys() ^ shapes().keys()} or [
        (k, found[k], shapes()[k]) for k in found if found[k] != shapes()[k]
    ]
    network.load_state_dict({name: torch.as_tensor(value) for name, value in weights(shapes()).items()})
    batch = torch.as_tensor(picture()[:96, :128].transpose(2, 0, 1)[None].copy()).float() / 255
    with torch.inference_mode():
        outputs = [part for part in _tensors(network(batch)) if part.ndim in (3, 4)]
    predictions = next(part for part in outputs if part.ndim == 3 and part.shape[1] == 4 + len(CLASSES) + 32)
    prototypes = next(part for part in outputs if part.ndim == 4 and part.shape[1] == 32)
    network.names = dict(enumerate(CLASSES))
    network.args = {}
    yolo.model, yolo.ckpt = network, None
    # 8-bit pictures are taken as BGR.
    result = yolo.predict(
        np.ascontiguousarray(picture()[..., ::-1]), conf=0.75, iou=0.7, imgsz=640, retina_masks=True, verbose=False
    )[0]
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(
        FOLDER / "outputs.npz",
        predictions=predictions[0].numpy().astype(np.float32),
        prototypes=prototypes[0].numpy().astype(np.float32),
        boxes=result.boxes.xyxy.numpy(),
        scores=result.boxes.conf.numpy(),
        classes=result.boxes.cls.numpy().astype(np.uint8),
        masks=np.packbits(result.masks.data.numpy().astype(bool)),
    )


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


if __name__ == "__main__":
    main()
