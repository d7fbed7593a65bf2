"""How long a moved threshold takes on 2048 x 2048 pixels, and how much memory heat maps of 2000 x 3000 take.

python benchmarks/concepts.py
"""

from __future__ import annotations

import resource
import time

import numpy as np
from scipy import ndimage

from napari_foundseg.core.image import Image
from napari_foundseg.core.normalisation import Limits
from napari_foundseg.tasks.concepts import TextInputs
from napari_foundseg.tasks.heat_maps import blended_maps
from napari_foundseg.tasks.text import TextSettings, derive


class Brightness:
    """In place of a network: it takes no time and no memory of its own."""

    window = 352

    def text_maps(self, rgb: np.ndarray, prompts: list[str]) -> np.ndarray:
        return np.repeat(rgb[None, ..., 0].astype(np.float32) / 255, len(prompts), axis=0)


def result(side: int, concepts: int) -> tuple[object, TextInputs]:
    """Return a result whose maps look like CLIPSeg's: blobs of about 30 pixels."""
    from napari_foundseg.core.result import Segmentation, object_table

    rng = np.random.default_rng(0)
    maps = np.stack([ndimage.zoom(rng.random((side // 32, side // 32)), 32, order=1) for _ in range(concepts)])
    inputs = TextInputs.parse({"concepts": [f"concept {i}" for i in range(concepts)]})
    labels = np.zeros((side, side), np.uint16)
    told = {"image": {"axes": "YX"}, "inputs": inputs.model_dump(mode="json")}
    table = object_table(labels, "YX", predicted_iou=[], stability_score=[])
    return Segmentation(labels, table, inputs.class_table(), told, maps={(): maps.astype(np.float16)}), inputs


def main() -> None:
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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    image = Image(np.zeros((2000, 3000), np.uint8), normalisation=Limits(low=0, high=255))
    blended_maps(image, (), (0, 0, 1999, 2999), Brightness(), ["a"] * 5, lambda: None, lambda _: None, most_scales=9)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    more, whole = (after - before) / 1024, after / 1024
    print(f"heat maps of 2000 x 3000, 5 concepts: at most {more:.0f} MB more, {whole:.0f} MB in all")


if __name__ == "__main__":
    main()
