"""How long a moved threshold takes on 2048 x 2048 pixels, and what heat maps of 2000 x 3000 pixels cost.

With ``--network`` a CLIPSeg of the published size draws them, with random weights, at the form's number of scales and
at one more.

python benchmarks/concepts.py [--network]
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import numpy as np
from scipy import ndimage

from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.image import Image
from napari_foundseg.tasks.classes.concepts import TextInputs
from napari_foundseg.tasks.text import TextSettings, derive
from napari_foundseg.tasks.windows.heat_maps import blended_maps


class Brightness:
    """In place of a network: it takes no time and no memory of its own."""

    window = 352

    def text_maps(self, rgb: np.ndarray, prompts: list[str]) -> np.ndarray:
        return np.repeat(rgb[None, ..., 0].astype(np.float32) / 255, len(prompts), axis=0)


def result(side: int, concepts: int) -> tuple[object, TextInputs]:
    """Return a result whose maps look like CLIPSeg's: blobs of about 30 pixels."""
    from napari_foundseg.core.object_table import object_table
    from napari_foundseg.core.result import Segmentation

    rng = np.random.default_rng(0)
    maps = np.stack([ndimage.zoom(rng.random((side // 32, side // 32)), 32, order=1) for _ in range(concepts)])
    inputs = TextInputs.parse({"concepts": [f"concept {i}" for i in range(concepts)]})
    labels = np.zeros((side, side), np.uint16)
    told = {"image": {"axes": "YX"}, "inputs": inputs.model_dump(mode="json")}
    table = object_table(labels, "YX", predicted_iou=[], stability_score=[])
    return Segmentation(labels, table, inputs.class_table(), told, maps={(): maps.astype(np.float16)}), inputs


def clipseg() -> Any:
    """Return a CLIPSeg rd64 with random weights, which is asked with pictures and so needs no tokenizer."""
    import torch
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, ViTImageProcessor

    from napari_foundseg.models import catalog
    from napari_foundseg.models.families.language.clipseg import ClipSegModel

    torch.manual_seed(0)
    config = CLIPSegConfig(vision_config={"image_size": 352, "patch_size": 16}, reduce_dim=64)
    network = CLIPSegForImageSegmentation(config).eval().requires_grad_(False)
    images = ViTImageProcessor(size={"height": 352, "width": 352})
    return ClipSegModel(network, images, None, catalog.row("clipseg-rd64-refined"))


def drawn(model: Any, pixels: np.ndarray, prompts: list[Any], scales: int = 9) -> np.ndarray:
    image = Image(pixels, normalisation=Limits(low=0, high=255))
    region = (0, 0, pixels.shape[0] - 1, pixels.shape[1] - 1)
    return blended_maps(image, (), region, model, prompts, lambda: None, lambda _: None, most_scales=scales)


def of_network() -> None:
    model, rng = clipseg(), np.random.default_rng(0)
    prompts = [rng.integers(0, 255, (100, 120, 3), np.uint8) for _ in range(5)]
    model.text_maps(np.zeros((352, 352, 3), np.uint8), prompts)
    before = _memory()
    for scales in (2, 3):
        started = time.perf_counter()
        drawn(model, np.full((2000, 3000), 128, np.uint8), prompts, scales)
        took, more = time.perf_counter() - started, _memory() - before
        print(
            f"2000 x 3000, {scales} scales: {took:.0f} s, at most {more:.0f} MB more, {_memory():.0f} MB in all",
            flush=True,
        )


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", action="store_true", help="draw heat maps with a CLIPSeg of random weights")
    if parser.parse_args().network:
        of_network()
        return
    segmentation, inputs = result(2048, 5)
    for smoothing in (0.0, 2.0):
        derive(segmentation, TextSettings(smoothing=smoothing), inputs)
        for name, settings in (
            ("threshold", [TextSettings(smoothing=smoothing, threshold=t) for t in np.linspace(0.3, 0.7, 9)]),
            ("least size", [TextSettings(smoothing=smoothing, min_area=n) for n in range(0, 900, 100)]),
        ):
            times, processor = [], []
            for moved in settings:
                started, before = time.perf_counter(), time.process_time()
                found = derive(segmentation, moved, inputs)
                times.append(1000 * (time.perf_counter() - started))
                processor.append(1000 * (time.process_time() - before))
            print(
                f"{name} moved, smoothing {smoothing}: median {np.median(times):.0f} ms, of which the processor worked "
                f"{np.median(processor):.0f} ms; {len(found)} objects"
            )
    before = _memory()
    drawn(Brightness(), np.zeros((2000, 3000), np.uint8), ["a"] * 5)
    more, whole = _memory() - before, _memory()
    print(f"heat maps of 2000 x 3000, 5 concepts: at most {more:.0f} MB more, {whole:.0f} MB in all")


if __name__ == "__main__":
    main()
