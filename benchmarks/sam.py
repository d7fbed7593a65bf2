"""SAM: encoder, click and automatic masks against `segment_anything`, side by side; ratios are ours ÷ reference.

    python benchmarks/sam.py [--side 32] [--only encoder click vit tiny fast live memory compiled runtimes]

Seconds are of the processor (all threads), since they hardly depend on what else the machine does; wall time stands
beside them. ViT-B has random weights: its arithmetic is the published model's. `--side` is the grid's points along each
side; a quarter of the points takes a quarter of the time of both. Real image: a mosaic of held-out images of 1024².

A roofline says how long the arithmetic that is left takes at least: its multiplications and additions, counted, at the
speed of this machine's product of two large matrices. Not among the defaults: `compiled` (it takes minutes) compares
with torch.compile, `runtimes` with ONNX Runtime and OpenVINO where they and onnx are installed.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry
from torch.utils.flop_counter import FlopCounterMode

from _held_out import mosaic
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.measuring.comparison import match_objects
from napari_foundseg.core.object_table import object_table
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.protocols.objects import GridOptions
from napari_foundseg.models.sam.sam_embedding import SamEmbedding
from napari_foundseg.models.sam.sam_model import SamModel
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.automatic import derive
from napari_foundseg.tasks.automatic_settings import GridSettings
from napari_foundseg.tasks.windows import embeddings
from napari_foundseg.tasks.windows.mask_generator import GeneratorOptions, generate

PARTS = ("encoder", "click", "vit", "tiny", "fast", "live", "memory")
MORE = ("compiled", "runtimes")


def timed(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return a result, seconds of the processor and seconds of the clock."""
    gc.collect()
    clock, processor = time.perf_counter(), time.process_time()
    result = function()
    return result, time.process_time() - processor, time.perf_counter() - clock


def compare(name: str, ours: Callable[[], Any], reference: Callable[[], Any], times: int = 1) -> tuple[Any, Any]:
    """Print how long both take, the least of so many times, in turns; return what both return."""
    theirs, mine = zip(*((timed(reference), timed(ours)) for _ in range(times)), strict=True)
    expected, processor, clock = min(theirs, key=lambda run: run[1])
    found, own_processor, own_clock = min(mine, key=lambda run: run[1])
    print(
        f"{name}: reference {processor:.3g} s (clock {clock:.3g}), ours {own_processor:.3g} s (clock {own_clock:.3g}), "
        f"ours ÷ reference {own_processor / processor:.2f}, {processor / own_processor:.1f} times as fast",
        flush=True,
    )
    return found, expected


@cache
def peak_speed() -> float:
    """Return how many floating-point operations a second large products of matrices reach here."""
    a = torch.randn(2048, 2048)
    return max(2 * 2048**3 / timed(lambda: a @ a)[2] for _ in range(5))


def roofline(name: str, function: Callable[[], Any], times: float = 1.0) -> None:
    """Print how long the arithmetic of something takes at least, done so many times."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        function()
    work = counter.get_total_flops() * times
    print(
        f"  roofline, {name}: {work / 1e9:.0f} GFLOP, at {peak_speed() / 1e9:.0f} GFLOP/s at least "
        f"{work / peak_speed():.2f} s",
        flush=True,
    )


def vit_b(seed: int = 0) -> tuple[Any, SamModel]:
    """Return the reference network and ours, of equal random weights."""
    torch.manual_seed(seed)
    sam = sam_model_registry["vit_b"]().eval()
    other = sam_model_registry["vit_b"]().eval()
    for name, value in sam.named_parameters():
        if "rel_pos" in name or "pos_embed" in name:
            torch.nn.init.normal_(value, std=0.02)
    other.load_state_dict(sam.state_dict())
    return sam, SamModel(other, "sam-vit-b", "random")


def plane(mask: Mask, shape: tuple[int, int]) -> NDArray[np.bool_]:
    out = np.zeros(shape, bool)
    y0, x0, y1, x1 = mask.box
    out[y0 : y1 + 1, x0 : x1 + 1] = mask.crop
    return out


def same_masks(expected: list[dict[str, Any]], found: list[Mask], shape: tuple[int, int]) -> str:
    """Say how many of the reference's masks are found again."""
    planes = np.zeros((len(found), shape[0] // 2 * (shape[1] // 2)), np.float32)
    for row, mask in zip(planes, found, strict=True):
        row[:] = plane(mask, shape)[::2, ::2].ravel()
    areas = planes.sum(1)
    good = 0
    for mask in expected:
        one = mask["segmentation"][::2, ::2].ravel().astype(np.float32)
        shared = planes @ one
        good += bool(len(found)) and bool((shared / (areas + one.sum() - shared)).max() >= 0.95)
    share = f"{good / len(expected):.1%}" if expected else "all"
    return f"{share} of the reference's {len(expected)} masks at IoU ≥ 0.95; ours are {len(found)}"


def panoptic_quality(truth: NDArray[Any], found: NDArray[Any]) -> float:
    matching = match_objects(truth, found)
    matched = matching.iou[matching.iou > 0.5]
    return float(matched.sum() / ((len(matching.truth) + len(matching.found)) / 2))


def encoder(_side: int) -> None:
    sam, model = vit_b()
    picture = torch.randn(1, 3, 1024, 1024)
    with torch.inference_mode():
        found, expected = compare(
            "ViT-B encoder", lambda: model.sam.image_encoder(picture), lambda: sam.image_encoder(picture)
        )
    print(f"  largest difference {float((found - expected).abs().max()):.1e}, deviation {float(expected.std()):.2f}")
    roofline("ours", lambda: model.sam.image_encoder(picture))


def compiled(_side: int) -> None:
    """What a compiler or another runtime makes of the reference's encoder, beside ours."""
    sam, model = vit_b()
    picture = torch.randn(1, 3, 1024, 1024)
    with torch.inference_mode():
        _, processor, clock = timed(lambda: model.sam.image_encoder(picture))
        print(f"ViT-B encoder, ours: {processor:.2f} s (clock {clock:.2f})", flush=True)
        for name, encoder in (("the reference's", sam.image_encoder), ("ours", model.sam.image_encoder)):
            fast = torch.compile(encoder)
            clock = timed(lambda fast=fast: fast(picture))[2]
            _, processor, again = timed(lambda fast=fast: fast(picture))
            print(f"torch.compile of {name}: {processor:.2f} s (clock {again:.2f}), compiled in {clock - again:.0f} s")


def runtimes(_side: int) -> None:
    """What other runtimes make of the reference's encoder, beside ours."""
    wanted = ("onnx", "onnxruntime", "openvino")
    if missing := [package for package in wanted if importlib.util.find_spec(package) is None]:
        print(f"ONNX Runtime and OpenVINO are not measured: {', '.join(missing)} not installed")
        return
    sam, model = vit_b()
    picture = torch.randn(1, 3, 1024, 1024)
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/encoder.onnx"
        torch.onnx.export(sam.image_encoder, (picture,), file, dynamo=False, input_names=["picture"])
        with torch.inference_mode():
            for name, run in exported(file).items():
                ours, theirs = compare(
                    f"ViT-B encoder, {name} as the reference",
                    lambda: model.sam.image_encoder(picture),
                    lambda run=run: torch.as_tensor(run(picture.numpy())),
                    times=3,
                )
                print(f"  largest difference {float((ours - theirs).abs().max()):.1e}", flush=True)


def exported(file: str) -> dict[str, Callable[[NDArray[Any]], Any]]:
    """Return a network in ONNX's format as other runtimes run it."""
    import onnxruntime
    import openvino

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    out = {"ONNX Runtime": lambda picture: session.run(None, {"picture": picture})[0]}
    for precision in ("f32", "bf16"):
        network = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": precision})
        out[f"OpenVINO in {precision}"] = lambda picture, network=network: network(picture)[0]
    return out


def encoded_once() -> tuple[Any, SamModel, SamPredictor, Any]:
    """Return both networks with one picture's features, which neither encodes again."""
    sam, model = vit_b()
    predictor = SamPredictor(sam)
    predictor.features = torch.randn(1, 256, 64, 64, generator=torch.Generator().manual_seed(1))
    predictor.original_size = predictor.input_size = (1024, 1024)
    predictor.is_image_set = True
    return sam, model, predictor, SamEmbedding(predictor.features, (1024, 1024), (1024, 1024))


def click(_side: int) -> None:
    _, model, predictor, features = encoded_once()
    points, labels = np.array([[400, 500]]), np.array([1])
    prompt = [Prompt(points=[(500, 400)])]

    def first() -> Any:
        features.prepared.clear()
        return model.decode(features, prompt, multimask=True)

    def theirs() -> Any:
        return predictor.predict(points, labels, multimask_output=True, return_logits=True)

    compare("first ViT-B click", first, theirs, times=9)
    compare("further ViT-B click", lambda: model.decode(features, prompt, multimask=True), theirs, times=9)


class _Encoded(SamAutomaticMaskGenerator):
    """The reference generator, its picture encoded before."""

    def __init__(self, sam: Any, predictor: SamPredictor, **options: Any) -> None:
        super().__init__(sam, **options)
        self.predictor = predictor
        predictor.set_image = lambda *_: None
        predictor.reset_image = lambda: None


def vit(side: int) -> None:
    sam, model, predictor, features = encoded_once()
    rgb = np.zeros((1024, 1024, 3), np.uint8)
    grid = np.stack(np.meshgrid(*[(np.arange(4) + 0.5) * 256] * 2), -1).reshape(-1, 1, 2)
    with torch.inference_mode():
        _, iou, _ = predictor.predict_torch(torch.as_tensor(grid), torch.ones(16, 1), multimask_output=True)
    threshold = float(iou.flatten().quantile(0.8))
    options = {"points_per_side": side, "pred_iou_thresh": threshold, "stability_score_thresh": 0.0}
    model.encode = lambda _: features
    embeddings._kept.clear()
    found, expected = compare(
        f"exact generator, ViT-B, 80th percentile, {side}² points",
        lambda: generate(model, rgb, GeneratorOptions(**options)),
        lambda: _Encoded(sam, predictor, **options).generate(rgb),
    )
    print(f"  {same_masks(expected, found, (1024, 1024))}")


def tiny(side: int) -> None:
    model, rgb = load_model("foundseg-tiny"), Image(mosaic(1024)[0]).rgb()
    predictor = SamPredictor(model.sam)
    predictor.set_image(rgb)
    features = embeddings.embedding(model, rgb)
    points = np.random.default_rng(0).random((64, 2))
    coordinates = torch.as_tensor(points[:, None] * model.window)
    work = {
        "reference": lambda: predictor.predict_torch(coordinates, torch.ones(64, 1), return_logits=True),
        "ours": lambda: model.grid_masks(features, points, GeneratorOptions().grid, lambda: None),
    }
    for who, decode in work.items():
        roofline(f"{who}, {side}² points", decode, side**2 / 64)
    for options in ({}, {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.7}):
        every = {"points_per_side": side} | options
        found, expected = compare(
            f"exact generator, foundseg-tiny, {options or 'defaults'}, {side}² points",
            lambda every=every: generate(model, rgb, GeneratorOptions(**every)),
            lambda every=every: _Encoded(model.sam, predictor, **every).generate(rgb),
        )
        print(f"  {same_masks(expected, found, (1024, 1024))}")


def fast(side: int) -> None:
    model, image = load_model("foundseg-tiny"), Image(mosaic(1024)[0])
    predictor = SamPredictor(model.sam)
    predictor.set_image(image.rgb())
    task = TASKS["automatic"]
    embeddings.embedding(model, image.rgb())

    def run(mode: str) -> Any:
        settings = task.settings("grid", {"mode": mode, "tile": False, "points_per_side": side})
        return task.run(image, task.inputs(), settings, model)

    exact = run("exact")
    found, _ = compare(
        f"fast mode, foundseg-tiny, {side}² points",
        lambda: run("fast"),
        lambda: _Encoded(
            model.sam, predictor, points_per_side=side, pred_iou_thresh=0.5, stability_score_thresh=0.7
        ).generate(image.rgb()),
    )
    quality = panoptic_quality(np.asarray(exact.labels), np.asarray(found.labels))
    print(f"  panoptic quality against exact mode {quality:.3f} ({len(exact)} and {len(found)} objects)")


def live(_side: int) -> None:
    """A threshold moves over 1,000 raw masks of a 2k image."""
    rng, side = np.random.default_rng(0), 2048
    masks = []
    for radius in rng.integers(8, 60, 1000).tolist():
        rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
        corner = tuple(rng.integers(0, side - 2 * radius - 1, 2).tolist())
        scores = {"predicted_iou": float(rng.uniform(0.3, 1)), "stability_score": float(rng.uniform(0.5, 1))}
        masks.append(Mask.from_array(rows**2 + columns**2 <= radius**2, corner, **scores))
    empty = np.zeros((side, side), np.uint16)
    table = object_table(empty, "YX", predicted_iou=[], stability_score=[])
    known = {"image": {"axes": "YX"}, "inputs": {"region": None}, "model": {"name": "foundseg-tiny"}}
    raw = Segmentation(empty, table, provenance=known, masks=tuple(masks))
    took = [timed(lambda t=t: derive(raw, GridSettings(pred_iou_thresh=t)))[1:] for t in (0.5, 0.55, 0.6, 0.65, 0.7)]
    processor, clock = np.median(took, axis=0) * 1000
    print(f"a threshold on 1,000 raw masks of 2048²: {processor:.0f} ms (clock {clock:.0f})")


def memory(_side: int) -> None:
    for who in ("reference", "ours"):
        print(
            f"peak memory, {who}: {subprocess.check_output([sys.executable, __file__, '--peak', who], text=True)}",
            end="",
        )


def highest() -> float:
    """Return the most memory that this process has had so far, in units of 10⁹ bytes.

    Not of `resource` where the system tells otherwise: that counts the process that started this one, too.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9


def peak(who: str) -> None:
    """Print the peak memory of decoding 64 points, and of encoding, in this process."""
    sam, model, predictor, features = encoded_once()
    start = highest()
    points = (np.random.default_rng(0).random((64, 2)), torch.rand(64, 1, 2) * 1024)
    with torch.inference_mode():
        if who == "ours":
            model.grid_masks(features, points[0], GridOptions(64, 0.0, 0.0, 1.0), lambda: None)
        else:
            predictor.predict_torch(points[1], torch.ones(64, 1), multimask_output=True, return_logits=True)
        decoding = highest()
        (model.sam if who == "ours" else sam).image_encoder(torch.zeros(1, 3, 1024, 1024))
    print(f"{decoding:.2f} GB with 64 points, {highest():.2f} GB with encoding, {start:.2f} GB before")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--only", nargs="*", choices=PARTS + MORE, default=PARTS)
    parser.add_argument("--peak", choices=("ours", "reference"))
    arguments = parser.parse_args()
    if arguments.peak:
        peak(arguments.peak)
        return
    for part in arguments.only:
        globals()[part](arguments.side)


if __name__ == "__main__":
    main()
