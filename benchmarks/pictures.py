"""Draw what the built-in model finds, for its card: two test images of each kind, then pictures of other things.

Truth green, found magenta; scikit-image's pictures have no truth here. Look at the result.

    python benchmarks/pictures.py FILE
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from skimage.segmentation import find_boundaries

import napari_foundseg as fs
from _held_out import images

SIDE, COLUMNS = 300, 4
GREEN, MAGENTA = (0, 220, 0), (255, 0, 255)
#: Which image of each kind, counted from the first: neither the best nor the worst.
CHOSEN = {"fluorescence": (10, 60), "histology": (5, 20), "brightfield": (0, 1)}


def shown() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64] | None]]:
    """Yield pictures and their truth."""
    seen = dict.fromkeys(CHOSEN, -1)
    for _, kind, image, truth in images():
        seen[kind] += 1
        if seen[kind] in CHOSEN[kind]:
            yield image[:600, :600], truth[:600, :600]
    for name in ("coins", "cell", "immunohistochemistry", "retina", "hubble_deep_field", "brick"):
        picture = getattr(data, name)()
        yield picture[: 2 * SIDE, : 2 * SIDE] if name == "hubble_deep_field" else picture, None


def outlined(image: NDArray[np.uint8], truth: NDArray[np.int64] | None) -> NDArray[np.uint8]:
    """Return the picture, enlarged or shrunk to `SIDE`, with outlines."""
    found = fs.automatic(image).labels
    rgb = image[..., :3] if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    low, high = np.percentile(rgb, [0.5, 99.5])
    rgb = np.clip((rgb.astype(float) - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)
    scale = SIDE / max(rgb.shape[:2])
    size = round(rgb.shape[1] * scale), round(rgb.shape[0] * scale)
    tile = np.zeros((SIDE, SIDE, 3), np.uint8)
    small = np.array(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))
    for labels, colour in ((truth, GREEN), (found, MAGENTA)):
        if labels is not None:
            ids = Image.fromarray(labels.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
            small[find_boundaries(np.asarray(ids), mode="inner")] = colour
    tile[: small.shape[0], : small.shape[1]] = small
    return tile


def main() -> None:
    tiles = [outlined(image, truth) for image, truth in shown()]
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)]
    Image.fromarray(np.vstack(rows)).save(sys.argv[1], quality=88)


if __name__ == "__main__":
    main()
