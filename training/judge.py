"""Fit the quality head again, alone, on what the trained network says of many prompts.

The head sees the masks of the network as they are at the end; its inputs are gathered once, which makes this quick.

    python training/judge.py --out RUN --scenes SCENES
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from losses import true_quality
from samples import Windows, collate
from train import Both


@torch.no_grad()
def gather(model: Both, loader: DataLoader[dict[str, Tensor]], bf16: bool) -> tuple[Tensor, Tensor]:
    """Return the head's inputs `(N, C)` and the true IoU `(N,)` of every mask of every prompt."""
    seen: list[Tensor] = []
    head = model.sam.mask_decoder.iou_prediction_head
    handle = head.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].float().flatten(0, 1)))
    truths = []
    for batch in loader:
        ids = batch["ids"].flatten()
        truth = (batch["labels"][:, None] == batch["ids"][..., None, None]).float().flatten(0, 1)[:, None]
        truth = F.avg_pool2d(truth, 2) * (ids > 0)[:, None, None, None]
        points = batch["points"].flatten(0, 1)[:, None]
        labels = torch.where(points.isfinite().all(dim=2), 1.0, -1.0)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            features = model.sam.image_encoder(batch["image"].contiguous(memory_format=torch.channels_last))
            masks, _ = model.decode(features, points.nan_to_num(0.0), labels, batch["boxes"].flatten(0, 1), None)
        truths.append((true_quality(masks, truth) * (ids > 0)[:, None]).flatten())
    handle.remove()
    return torch.cat(seen), torch.cat(truths)


def fit(head: nn.Module, inputs: Tensor, truth: Tensor, rounds: int) -> float:
    """Fit the head in `rounds` passes; return the mean absolute error of the last."""
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=rounds * (len(inputs) // 256))
    error = 0.0
    for _ in range(rounds):
        error = 0.0
        for rows in torch.randperm(len(inputs))[: len(inputs) // 256 * 256].split(256):
            guess = torch.sigmoid(head(inputs[rows]).squeeze(1))
            loss = F.mse_loss(guess, truth[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            error += float((guess - truth[rows]).detach().abs().mean())
    return error / (len(inputs) // 256)


def main() -> None:
    """Fit the head and put it into the checkpoint's averaged weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=140)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(2)
    torch.set_flush_denormal(True)
    path = options.out / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    model = Both().to(memory_format=torch.channels_last).eval()
    model.load_state_dict(state["average"])
    windows = Subset(Windows(options.scenes, 8, seed=1, synthetic=0.2), range(8 * options.batches))
    inputs, truth = gather(model, DataLoader(windows, 8, num_workers=2, collate_fn=collate), options.bf16)
    head = model.sam.mask_decoder.iou_prediction_head
    for layer in head:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    print(f"{len(truth)} masks, mean absolute error {fit(head, inputs, truth, options.rounds):.3f}")
    state["average"] = model.state_dict()
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


if __name__ == "__main__":
    main()
