"""Write what ultralytics makes of small networks and a picture, and the layout of YOLO11n-seg.

The files are tests/data/yolo/outputs.npz and outputs11.npz, and tests/data/layouts/yolo11n-seg.json.

Runs where ultralytics 8.4 (AGPL-3.0) is installed, which the project does not need and never imports:
``PYTHONPATH=. python tests/oracles/yolo_outputs.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import SegmentationModel

from tests.support.small_yolo import CLASSES, WIDTH, picture, shapes, shapes11, weights

FOLDER = Path(__file__).parents[1] / "data" / "yolo"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    write_layout()
    yolo, network = made("yolov8n-seg.yaml", [0.33, WIDTH, 1024], shapes())
    maps = outputs(network, 96, 128)
    np.savez_compressed(FOLDER / "outputs.npz", **maps, **objects(yolo, network))
    _, network = made("yolo11n-seg.yaml", [0.50, 0.25, 1024], shapes11())
    np.savez_compressed(FOLDER / "outputs11.npz", **outputs(network, 64, 96))


def write_layout() -> None:
    """Write every name and shape of the network that is published."""
    found = {name: list(value.shape) for name, value in YOLO("yolo11n-seg.yaml").model.state_dict().items()}
    (FOLDER.parent / "layouts" / "yolo11n-seg.json").write_text(json.dumps(found), "utf-8")


def made(name: str, scale: list[float], expected: dict[str, tuple[int, ...]]) -> tuple[Any, torch.nn.Module]:
    """Return ultralytics' network with the weights of the tests."""
    yolo = YOLO(name)
    described = {**yolo.model.yaml, "scales": {"t": scale}, "scale": "t", "nc": len(CLASSES)}
    network = SegmentationModel(described, ch=3, nc=len(CLASSES), verbose=False).eval()
    found = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert found == expected, {k: (found.get(k), expected.get(k)) for k in found.keys() ^ expected.keys()} or [
        (k, found[k], expected[k]) for k in found if found[k] != expected[k]
    ]
    network.load_state_dict({name: torch.as_tensor(value) for name, value in weights(expected).items()})
    return yolo, network


def outputs(network: torch.nn.Module, rows: int, columns: int) -> dict[str, Any]:
    batch = torch.as_tensor(picture()[:rows, :columns].transpose(2, 0, 1)[None].copy()).float() / 255
    with torch.inference_mode():
        found = [part for part in _tensors(network(batch)) if part.ndim in (3, 4)]
    predictions = next(part for part in found if part.ndim == 3 and part.shape[1] == 4 + len(CLASSES) + 32)
    prototypes = next(part for part in found if part.ndim == 4 and part.shape[1] == 32)
    return {"predictions": predictions[0].numpy(), "prototypes": prototypes[0].numpy()}


def objects(yolo: Any, network: Any) -> dict[str, Any]:
    network.names = dict(enumerate(CLASSES))
    network.args = {}
    yolo.model, yolo.ckpt = network, None
    # 8-bit pictures are taken as BGR.
    result = yolo.predict(
        np.ascontiguousarray(picture()[..., ::-1]), conf=0.75, iou=0.7, imgsz=640, retina_masks=True, verbose=False
    )[0]
    return {
        "boxes": result.boxes.xyxy.numpy(),
        "scores": result.boxes.conf.numpy(),
        "classes": result.boxes.cls.numpy().astype(np.uint8),
        "masks": np.packbits(result.masks.data.numpy().astype(bool)),
    }


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


if __name__ == "__main__":
    main()
