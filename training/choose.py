"""Choose on ``val``: among weight files, the thresholds of the decoder's maps, and the calibration of the scores.

Figures are those of `benchmarks/accuracy.py`, but of at most 512 pixels a side and `--objects` objects an image. All
is decoded by the plugin's own code.

python training/choose.py A.safetensors B.safetensors        compare weight files
python training/choose.py A.safetensors --search [--out F]   choose thresholds, then fit the calibration
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from _held_out import images
from accuracy import prompts
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Mask, iou
from napari_foundseg.core.measuring.comparison import match_objects
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.watershed import instance_scores, instances
from napari_foundseg.models.families.promptable.tiny import TinyModel
from napari_foundseg.tasks import prompt as prompting
from napari_foundseg.tasks.automatic_settings import DecoderSettings
from napari_foundseg.tasks.windows.sizes.size_search import SizedMaps
from weights import middle, model_of

#: The thresholds that are searched, and by how much they may change in one step.
STEPS = {"foreground_threshold": 0.05, "centre_threshold": 0.05, "boundary_threshold": 0.05, "seed_smoothing": 0.25}
Thresholds = dict[str, float]
Labels = NDArray[np.int64]


def silent(*_told: object) -> None:
    """Take no note of progress."""


def maps_of(model: TinyModel, image: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Decode the maps of a whole picture."""
    box = (0, 0, image.shape[0] - 1, image.shape[1] - 1)
    # One look, or two: thresholds are chosen at the picture's own size.
    sized = SizedMaps(
        Image(image), [()], box, model, lambda: None, shipped(), tile=True, diameter=None, search="second look",
        weights=None, calibration=None, least=0.0,
    )  # fmt: skip
    return sized.maps((), silent)


def shipped() -> Thresholds:
    """Return the thresholds that the plugin has now."""
    return {name: getattr(DecoderSettings(), name) for name in [*STEPS, "min_area"]}


def precision(found: list[tuple[NDArray[np.float16], Labels]], thresholds: Thresholds) -> NDArray[np.float64]:
    """Return mSA and AP50, the means over images."""
    each = [match_objects(truth, instances(maps, **thresholds)).precision for maps, truth in found]  # type: ignore[arg-type]
    return np.array([np.mean([ap.mean() for ap in each]), np.mean([ap[0] for ap in each])])


def search(found: list[tuple[NDArray[np.float16], Labels]]) -> Thresholds:
    """Return the thresholds of the highest mSA + AP50: one by one a step up or down, until none helps."""
    best = shipped()
    score = precision(found, best).sum()
    improved = True
    while improved:
        improved = False
        for name, step in STEPS.items():
            for change in (-step, step):
                trial = {**best, name: round(best[name] + change, 2)}
                if trial[name] >= 0 and (new := precision(found, trial).sum()) > score + 1e-4:
                    best, score, improved = trial, new, True
        print(best, f"{score / 2:.4f}", flush=True)
    return best


def calibrate(found: list[tuple[NDArray[np.float16], Labels]], thresholds: Thresholds) -> NDArray[np.float64]:
    """Return the three numbers of `core.watershed.instance_scores`: least squares of every object's best IoU."""
    facts, actual = [], []
    for maps, truth in found:
        labels = instances(maps, **thresholds)  # type: ignore[arg-type]
        # The score is linear in its three numbers (but for the clipping, which a small weight keeps out of play).
        doubt = 0.5 - instance_scores(maps, labels, (0.5, -1.0, 0.0))[0]
        shallow = 1.0 - instance_scores(maps, labels, (1.0, 0.0, -1.0))[0]
        facts += list(zip(np.ones_like(doubt), doubt, shallow, strict=True))
        actual += list(match_objects(labels, truth).best)
    return np.asarray(np.linalg.lstsq(np.array(facts), np.array(actual), rcond=None)[0])


def prompt_ious(model: TinyModel, image: NDArray[np.uint8], truth: Labels, most: int) -> dict[str, list[float]]:
    """Return the IoU of a click and of a box for up to `most` objects, chosen evenly."""
    ids, clicks, boxes = prompts(truth)
    chosen = np.unique(np.linspace(0, len(ids) - 1, min(most, len(ids))).astype(int)) if ids else []
    own = [Mask.from_array(truth == ids[i]) for i in chosen]

    def ious(given: list[Prompt]) -> list[float]:
        inputs = prompting.PromptInputs(prompts=tuple(given[i] for i in chosen))
        done = prompting.run(Image(image), inputs, prompting.PromptSettings(), model, silent, lambda: False)
        first = {mask.label: mask for mask in reversed(done.masks or ())}
        return [iou(first[n + 1], mask) for n, mask in enumerate(own)]

    return {"click": ious(clicks), "box": ious(boxes)} if own else {}


def main() -> None:
    """Print a line for each weight file and kind, or what was chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--out", type=Path, help="a JSON file for what is chosen")
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pictures = [(kind, *middle(image, truth)) for _, kind, image, truth in images("val")]
    for path in options.weights:
        model = model_of(path)
        found = [(kind, (maps_of(model, image), truth)) for kind, image, truth in pictures]
        thresholds = search([pair for _, pair in found]) if options.search else shipped()
        if options.search:
            calibration = calibrate([pair for _, pair in found], thresholds).round(3).tolist()
            print("calibration", calibration)
            if options.out:
                options.out.write_text(json.dumps({"thresholds": thresholds, "calibration": calibration}))
        figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for kind, image, truth in pictures:
            for name, values in prompt_ious(model, image, truth, options.objects).items():
                figures[kind][name] += values
                figures["all"][name] += values
        for kind, own in figures.items():
            msa, ap50 = precision([pair for k, pair in found if kind in (k, "all")], thresholds)
            prompted = " ".join(f"{name} {np.mean(values):.3f}" for name, values in own.items())
            print(f"{path.stem:14} {kind:13} mSA {msa:.3f} AP50 {ap50:.3f} {prompted}", flush=True)


if __name__ == "__main__":
    main()
