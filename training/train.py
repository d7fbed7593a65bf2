"""Train `foundseg-tiny`: encoder and instance decoder first, then the prompts on that encoder, then all together.

python training/train.py --out RUN --scenes SCENES --steps 2800 --alone 1500 --frozen 2100
python training/train.py --out RUN --scenes SCENES --steps 2800 --alone 1500 --frozen 2100 --resume
python training/train.py --out RUN --export src/napari_foundseg/models/weights/foundseg-tiny.safetensors
"""

import argparse
import copy
import csv
import math
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from losses import instance_loss, prompt_loss
from samples import Windows, collate

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
from napari_foundseg.models.nets.tiny.tiny import (
    InstanceDecoder,
    build_foundseg_tiny,
    load_foundseg_tiny,
    save_foundseg_tiny,
)

#: Of the weight file that is written.
VERSION = "3"
#: How often several clicks are given at once.
SEVERAL = 0.2
LOG = ["step", "seconds", "rate", "loss", "mask", "quality", "instance", "iou_click", "iou_box"]
Batch = dict[str, Tensor]


class Both(nn.Module):
    """The promptable model and the instance decoder as one module."""

    def __init__(self, version: str) -> None:
        super().__init__()
        self.sam = build_foundseg_tiny(version)
        self.decoder = InstanceDecoder()

    def start_from(self, path: Path) -> None:
        """Take the weights of a file, which may be of an older version: what is new is without effect at first."""
        sam, decoder = load_foundseg_tiny(path)
        self.sam.load_state_dict(sam.state_dict(), strict=False)
        self.decoder.load_state_dict(decoder.state_dict())

    def decode(self, features: Tensor, prompts: "Prompts") -> list[Tensor]:
        """Return logits `(N, 4, 128, 128)` and quality `(N, 4)` of N prompts, equally many for each image."""
        with torch.autocast("cpu", enabled=False):
            sparse, dense = self.sam.prompt_encoder((prompts.points, prompts.labels), prompts.boxes, prompts.masks)
            place = self.sam.prompt_encoder.get_dense_pe()
        return list(self.sam.mask_decoder.predict_masks(features, place, sparse, dense))


class Prompts(NamedTuple):
    """Prompts as the model takes them: points `(N, P, 2)`, labels `(N, P)`, boxes `(N, 4)`, masks `(N, 1, S, S)`."""

    points: Tensor
    labels: Tensor
    boxes: Tensor
    masks: Tensor | None = None


def correct(prompts: Prompts, truth: Tensor, masks: Tensor, quality: Tensor) -> Prompts:
    """Return the prompts with one click more, on an error, and mostly the mask that was wrong."""
    count = len(truth)
    clicked = prompts.masks is None and prompts.points.shape[1] == 1
    several = (prompts.labels[:, 0] >= 0) & clicked
    chosen = torch.where(several, quality[:, 1:].argmax(dim=1) + 1, 0)
    best = masks[torch.arange(count), chosen].float().detach()
    target = truth[:, 0] > 0.5
    wrong = ((best > 0) != target).float()
    wrong = torch.where(wrong.sum(dim=(1, 2), keepdim=True) > 0, wrong, target.float() + 1e-6)
    if torch.rand(()) < 0.5:  # the user clicks in the middle of what is wrong
        wrong = wrong * F.avg_pool2d(wrong[:, None], 9, 1, 4)[:, 0] ** 4 + 1e-9
    at = torch.multinomial(wrong.flatten(1), 1).squeeze(1)
    size = best.shape[-1]
    extra = torch.stack([at % size, at // size], dim=1) * 2.0 + 0.5
    sign = target.flatten(1).gather(1, at[:, None]).float()
    points = torch.cat([prompts.points, extra[:, None]], dim=1)
    return Prompts(points, torch.cat([prompts.labels, sign], dim=1), prompts.boxes, best[:, None])


def thin_out(prompts: Prompts, truth: Tensor) -> Prompts:
    """Return the prompts as people give them: some without the mask before, some with the mask of the object alone."""
    assert prompts.masks is not None
    count = len(truth)
    given = prompts.masks.clone()
    given[torch.rand(count) < 0.25] = torch.nan
    alone = torch.rand(count) < 0.15
    drawn = F.avg_pool2d(truth, 3, 1, 1) if torch.rand(()) < 0.5 else truth
    strength = 4 + 12 * torch.rand(count, 1, 1, 1)
    drawn = resize_drawing(drawn)
    given[alone] = (torch.where(drawn > 0.5, 1.0, -1.0) * strength)[alone]
    labels = torch.where(alone[:, None], -1.0, prompts.labels)
    boxes = torch.where(alone[:, None], torch.nan, prompts.boxes)
    return Prompts(prompts.points, labels, boxes, given)


def resize_drawing(mask: Tensor) -> Tensor:
    """Return masks `(N, 1, 128, 128)` as a hand draws them: half of them up to 3 map pixels too small or large."""
    reach = int(torch.randint(-3, 4, ()))
    if reach == 0 or torch.rand(()) < 0.5:
        return mask
    size = 2 * abs(reach) + 1
    if reach > 0:
        return F.max_pool2d(mask, size, 1, reach)
    smaller = 1 - F.max_pool2d(1 - mask, size, 1, -reach)
    # A thin object would be gone.
    kept = (smaller > 0.5).flatten(1).sum(1) > 0.3 * (mask > 0.5).flatten(1).sum(1)
    return torch.where(kept[:, None, None, None], smaller, mask)


def add_clicks(prompts: Prompts, truth: Tensor) -> Prompts:
    """Return the prompts with up to seven clicks more, anywhere in the object."""
    inside = (truth[:, 0] > 0.5).float().flatten(1)
    empty = inside.sum(dim=1, keepdim=True) == 0
    at = torch.multinomial(inside + empty, int(torch.randint(1, 8, ())), replacement=True)
    size = truth.shape[-1]
    extra = torch.stack([at % size, at // size], dim=2) * 2.0 + 0.5
    labels = torch.where(empty | (prompts.labels < 0), -1.0, 1.0).expand(-1, at.shape[1])
    points = torch.cat([prompts.points, extra], dim=1)
    return prompts._replace(points=points, labels=torch.cat([prompts.labels, labels], dim=1))


def instances(model: Both, features: Tensor, batch: Batch) -> Tensor:
    """Return the loss of the instance decoder."""
    with torch.autocast("cpu", torch.bfloat16, enabled=BF16):
        maps = model.decoder(features)
    known = batch["complete"]
    if not known.any():
        return 0.0 * maps.float().mean()
    truth = batch["labels"][known], batch["centre"][known].float(), batch["boundary"][known].float()
    return instance_loss(maps[known], *truth)


def instance_losses(model: Both, batch: Batch) -> dict[str, Tensor]:
    """Return the loss of the encoder and the instance decoder alone, with which training begins."""
    with torch.autocast("cpu", torch.bfloat16, enabled=BF16):
        features = model.sam.image_encoder(batch["image"].contiguous(memory_format=torch.channels_last))
    loss = instances(model, features, batch)
    return {"instance": loss, "loss": 4.0 * loss}


def step_losses(model: Both, batch: Batch, corrections: int, frozen: bool) -> dict[str, Tensor]:
    """Return the losses of one batch: prompts, the last of their `corrections`, and unless `frozen` the instances."""
    ids = batch["ids"].flatten()
    meant = ids > 0
    truth = (batch["labels"][:, None] == batch["ids"][..., None, None]).float().flatten(0, 1)[:, None]
    truth = F.avg_pool2d(truth * meant[:, None, None, None], 2)
    known = ids >= 0
    points, boxes = batch["points"].flatten(0, 1)[:, None], batch["boxes"].flatten(0, 1)
    clicked = points.isfinite().all(dim=2)
    with torch.autocast("cpu", torch.bfloat16, enabled=BF16):
        with torch.set_grad_enabled(not frozen):
            features = model.sam.image_encoder(batch["image"].contiguous(memory_format=torch.channels_last))
        prompts = Prompts(points.nan_to_num(0.0), torch.where(clicked, 1.0, -1.0), boxes)
        alone = clicked[:, 0]
        if torch.rand(()) < SEVERAL:
            prompts, alone = add_clicks(prompts, truth), torch.zeros_like(alone)
        masks, quality = again = model.decode(features, prompts)
        for i in range(corrections):
            prompts = correct(prompts, truth, *again)
            last = i == corrections - 1
            with torch.set_grad_enabled(last):
                again = model.decode(features, thin_out(prompts, truth) if last else prompts)
    losses = prompt_loss(masks[known], quality[known], truth[known], meant[known], alone[known])
    losses["loss"] = losses["mask"] + losses["quality"]
    if not frozen:
        losses["instance"] = instances(model, features, batch)
        losses["loss"] = losses["loss"] + 4.0 * losses["instance"]
    if corrections:
        none = torch.zeros_like(meant)
        more = prompt_loss(again[0][known], again[1][known], truth[known], meant[known], none[known])
        losses["loss"] = losses["loss"] + 0.6 * (more["mask"] + more["quality"])
    return losses


def rate_at(step: int, options: argparse.Namespace) -> float:
    """Return the learning rate: a linear warm-up, then a cosine to a hundredth, in the last `cool` steps if given."""
    if step < 80:
        return float(options.rate) * (step + 1) / 80
    cool = options.cool or options.steps
    share = max(0.0, 1 - (options.steps - step) / cool)
    return float(options.rate) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, step: int) -> None:
    """Move the averaged weights and statistics towards the model's."""
    keep = min(0.995, (1 + step) / (20 + step))
    ours, theirs = average.state_dict(), model.state_dict()
    names = [name for name, value in ours.items() if value.is_floating_point()]
    torch._foreach_lerp_([ours[n] for n in names], [theirs[n] for n in names], 1 - keep)


def save(path: Path, **state: object) -> None:
    """Write a checkpoint so that an interruption leaves the old one."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def freeze_statistics(model: nn.Module) -> None:
    """Fix the statistics of all batch normalisation."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def train(options: argparse.Namespace) -> None:
    """Run the steps that are left."""
    torch.manual_seed(options.seed)
    model = Both(VERSION)
    if options.start:
        model.start_from(options.start)
    model = model.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).eval()
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.03, betas=(0.9, 0.98))
    start = 0
    path = options.out / "checkpoint.pt"
    if options.resume and path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
    windows = Windows(options.scenes, options.prompts, options.seed, options.synthetic)
    left = Subset(windows, range(start * options.batch, options.steps * options.batch))
    loader = DataLoader(left, options.batch, num_workers=options.workers, collate_fn=collate, prefetch_factor=4)
    begin, sums = time.perf_counter(), dict.fromkeys(LOG, 0.0)
    for step, batch in enumerate(loader, start=start):
        model.train()
        if step > options.steps - 0.15 * (options.cool or options.steps):
            freeze_statistics(model)
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, options)
        if step < options.alone:
            losses = instance_losses(model, batch)
        else:
            frozen = step < options.frozen
            if frozen:
                model.sam.image_encoder.eval()
            learning = options.start is None and step < options.alone + 250
            corrections = 0 if learning or step % 2 else step // 2 % 4 + 1
            losses = step_losses(model, batch, corrections, frozen)
        optimiser.zero_grad(set_to_none=True)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        follow(average, model, step)
        sums = {n: sums[n] + (float(losses[n].detach()) if n in losses else 0.0) for n in LOG}
        if (step + 1) % 20 == 0:
            seconds = (time.perf_counter() - begin) / 20
            log(options.log, step + 1, seconds, rate_at(step, options), {n: v / 20 for n, v in sums.items()})
            begin, sums = time.perf_counter(), dict.fromkeys(LOG, 0.0)
        if (step + 1) % 100 == 0 or step + 1 == options.steps:
            states = {"model": model.state_dict(), "average": average.state_dict()}
            save(path, step=step + 1, optimiser=optimiser.state_dict(), **states)


def log(path: Path, step: int, seconds: float, rate: float, means: dict[str, float]) -> None:
    """Add a line to the log."""
    values = {**means, "step": step, "seconds": seconds, "rate": rate}
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(LOG)
        writer.writerow([step, *(f"{values[name]:.5g}" for name in LOG[1:])])


def export(checkpoint: Path, path: Path) -> None:
    """Write the averaged weights of a checkpoint as the plugin's weight file."""
    both = Both(VERSION)
    both.load_state_dict(torch.load(checkpoint, weights_only=True)["average"])
    save_foundseg_tiny(both.sam, both.decoder, path)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=Path)
    parser.add_argument("--log", type=Path, default=Path(__file__).with_name("log.csv"))
    parser.add_argument("--export", type=Path)
    parser.add_argument("--start", type=Path, help="a weight file to start from, with a fresh optimiser")
    parser.add_argument("--resume", action="store_true")
    sizes = {"steps": 2800, "alone": 1500, "frozen": 2100, "batch": 8, "prompts": 4}
    for name, value in {**sizes, "workers": 2, "seed": 0, "threads": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rate", type=float, default=1.2e-3, help="at the end of the warm-up")
    parser.add_argument(
        "--cool", type=int, help="the rate stays until so many steps are left; by default it always falls"
    )
    parser.add_argument("--synthetic", type=float, default=0.35, help="share of windows that are synthetic scenes")
    parser.add_argument("--bf16", action="store_true", help="only where the processor has AMX or AVX512-BF16")
    return parser.parse_args()


if __name__ == "__main__":
    options = parse()
    BF16 = options.bf16
    if options.export:
        export(options.out / "checkpoint.pt", options.export)
    else:
        torch.set_num_threads(options.threads)
        torch.set_flush_denormal(True)
        options.out.mkdir(parents=True, exist_ok=True)
        train(options)
