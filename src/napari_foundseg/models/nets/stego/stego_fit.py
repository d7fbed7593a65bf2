"""Fitting STEGO's head: crops of pictures, their nearest neighbours, and steps of Adam.

The random numbers of a step depend only on the seed and the step's number. A fit that is resumed therefore has the same
result as one that never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from napari_foundseg.models.nets.stego.stego import (
    CorrespondenceSettings,
    SegmentationHead,
    correspondences,
    permutation_without_self,
    random_coordinates,
    total_loss,
)

__all__ = ["Crops", "Fit", "FitOptions", "balanced", "nearest_crops"]

#: Number of crops in which the correspondences of features are measured.
_MEASURED = 64
#: Quantiles of the correspondences that are the biases of self, neighbour and random pairs by default.
_QUANTILES = {"self": 0.6, "knn": 0.6, "rand": 0.8}
#: Number of crops on which heads are compared.
_JUDGED = 32


@dataclass(frozen=True)
class FitOptions:
    """Options for fitting a head.

    Parameters
    ----------
    dim : int
        Channels of the codes.
    batch_size : int
        Crops per step.
    learning_rate : float
        Learning rate of Adam.
    neighbours : int
        Nearest neighbours of a crop that may be its partner.
    seed : int
        Seed of the random numbers.
    """

    dim: int = 64
    batch_size: int = 16
    learning_rate: float = 1e-3
    neighbours: int = 7
    seed: int = 0


class Crops:
    """Crops of feature maps, read only at the points that are needed.

    Parameters
    ----------
    maps : sequence of Tensor, shapes (H, W, D)
        Features of each picture, in float16 or float32.
    """

    def __init__(self, maps: Sequence[Tensor]) -> None:
        self.maps = list(maps)
        self.boxes = [(i, box) for i, one in enumerate(self.maps) for box in _five(one.shape[0], one.shape[1])]

    def __len__(self) -> int:
        return len(self.boxes)

    def pooled(self) -> Tensor:
        """Return the mean of the normalised features of each crop, `(n, D)`, normalised."""
        normalize = torch.nn.functional.normalize
        means = []
        for i, (y, x, height, width) in self.boxes:
            part = self.maps[i][y : y + height, x : x + width].float()
            means.append(normalize(part, dim=-1).mean((0, 1)))
        return normalize(torch.stack(means), dim=-1)

    def at(self, numbers: Tensor, coordinates: Tensor) -> Tensor:
        """Return the features of crops at points.

        Parameters
        ----------
        numbers : Tensor, shape (B,)
            The crops.
        coordinates : Tensor, shape (B, S, S, 2)
            (x, y), -1 to 1 from the first to the last cell of the crop.

        Returns
        -------
        Tensor, shape (B, D, S, S)
            Bilinear between cells, as `stego.sample_at` returns it for the whole crop.
        """
        shares = (coordinates + 1) / 2
        return torch.stack([self._read(int(n), part) for n, part in zip(numbers, shares, strict=True)]).movedim(-1, 1)

    def _read(self, number: int, shares: Tensor) -> Tensor:
        i, (top, left, height, width) = self.boxes[number]
        y = shares[..., 1] * (height - 1)
        x = shares[..., 0] * (width - 1)
        y0 = y.floor().clamp(0, max(height - 2, 0))
        x0 = x.floor().clamp(0, max(width - 2, 0))
        down = (y - y0)[..., None]
        right = (x - x0)[..., None]
        rows = y0.long() + top
        columns = x0.long() + left
        below = rows + int(height > 1)
        beside = columns + int(width > 1)
        one = self.maps[i]
        upper = one[rows, columns].float() * (1 - right) + one[rows, beside].float() * right
        lower = one[below, columns].float() * (1 - right) + one[below, beside].float() * right
        return upper * (1 - down) + lower * down


def _five(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Return the four corners and the middle, each of half the side (the published "five" crop), as (y, x, h, w)."""
    h = max(1, -(-height // 2))
    w = max(1, -(-width // 2))
    corners = [(y, x) for y in (0, height - h) for x in (0, width - w)]
    middle = ((height - h) // 2, (width - w) // 2)
    return [(y, x, h, w) for y, x in dict.fromkeys([*corners, middle])]


def nearest_crops(pooled: Tensor, neighbours: int) -> Tensor:
    """Return the numbers of the crops that are most similar to each, without itself.

    Parameters
    ----------
    pooled : Tensor, shape (n, D)
        Result of `Crops.pooled`.
    neighbours : int
        Number of neighbours; fewer if there are fewer crops.

    Returns
    -------
    Tensor, shape (n, k)
        A single crop is its own neighbour.
    """
    count = len(pooled)
    if count == 1:
        return torch.zeros(1, 1, dtype=torch.long)
    alike = pooled @ pooled.T
    alike.fill_diagonal_(-torch.inf)
    return alike.topk(min(neighbours, count - 1), dim=1).indices


def balanced(
    crops: Crops, settings: CorrespondenceSettings, seed: int, alike: float | None = None
) -> CorrespondenceSettings:
    """Return settings with biases that fit these features, because correspondences differ between backbones.

    A correspondence above the bias draws two codes together; one below drives them apart. For textures, the bias must
    not be too high. If fewer pairs exceed it than are of one texture, it tears apart the texture that covers most of
    the images.

    Parameters
    ----------
    crops : Crops
        The crops.
    settings : CorrespondenceSettings
        Settings whose weights and switches are kept.
    seed : int
        Seed of the random numbers.
    alike : float, optional
        Share of pairs of places, 0 to 1, that belong together. All biases are the correspondence that this share of
        pairs exceeds. By default, they are fixed quantiles that suit a few objects on a large background.

    Returns
    -------
    CorrespondenceSettings
        Settings with biases at quantiles of the correspondences of a crop with itself and with others.
    """
    from dataclasses import replace

    chance = torch.Generator().manual_seed(seed)
    a, b = (torch.randint(len(crops), (_MEASURED,), generator=chance) for _ in range(2))
    points = [random_coordinates(_MEASURED, settings.feature_samples, chance) for _ in range(2)]
    first = crops.at(a, points[0])
    second = crops.at(b, points[1])
    others = correspondences(first, second)
    found = {"self": correspondences(first, first) if alike is None else others, "knn": others, "rand": others}
    biases: dict[str, Any] = {}
    for kind, quantile in _QUANTILES.items():
        values = found[kind]
        if settings.pointwise:
            mean = values.mean()
            values = values - values.mean(dim=(3, 4), keepdim=True)
            values = values + mean
        flat = values.flatten()
        share = quantile if alike is None else 1 - alike
        biases[f"bias_{kind}"] = float(torch.quantile(flat[:: max(1, len(flat) // 100_000)], share))
    return replace(settings, **biases)


class Fit:
    """A head that is being fitted, and its best state so far.

    Parameters
    ----------
    crops : Crops
        Crops that the head is fitted to.
    settings : CorrespondenceSettings
        Settings of the loss.
    options : FitOptions
        Options of the fit.
    first_codes : Tensor, shape (C, D), optional
        Directions in feature space that are the first codes; by default the head begins at random.
    rate : callable, optional
        Takes a head and returns a number, which is lower for a better head; by default the loss on fixed crops.
    least_gain : float
        How much lower the rating of a head must be than that of the first one, for the first not to be kept.
    """

    def __init__(
        self,
        crops: Crops,
        settings: CorrespondenceSettings,
        options: FitOptions,
        first_codes: Tensor | None = None,
        rate: Callable[[SegmentationHead], float] | None = None,
        least_gain: float = 0.0,
    ) -> None:
        self._rate = rate
        self._least_gain = least_gain
        self.crops = crops
        self.settings = settings
        self.options = options
        self.neighbours = nearest_crops(crops.pooled(), options.neighbours)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.head = SegmentationHead(crops.maps[0].shape[-1], options.dim)
        if first_codes is not None:
            self.head.begin_with(first_codes)
        self.optimiser = torch.optim.Adam(self.head.parameters(), options.learning_rate)
        self.done = 0
        self.losses: list[float] = []
        self.judged: list[tuple[int, float]] = []
        self.best = {name: value.clone() for name, value in self.head.state_dict().items()}

    def step(self) -> float:
        """Take one step.

        Returns
        -------
        float
            The loss before the step.
        """
        chance = _chance(self.options.seed, self.done)
        self.head.train()
        # Dropout uses torch's global random numbers.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=chance)))
            loss = self._loss(chance, self.options.batch_size)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        self.done += 1
        self.losses.append(float(loss.detach()))
        return self.losses[-1]

    def judge(self) -> float:
        """Rate the head, and keep it if it is the best so far.

        Returns
        -------
        float
            The loss on crops that are the same each time, or what `rate` returned.
        """
        self.head.eval()
        with torch.no_grad():
            if self._rate is None:
                value = float(self._loss(_chance(self.options.seed, 2**31), _JUDGED))
            else:
                value = self._rate(self.head)
        lower = all(value < before for _, before in self.judged)
        if lower and (not self.judged or value < self.judged[0][1] - self._least_gain):
            self.best = {name: tensor.clone() for name, tensor in self.head.state_dict().items()}
        self.judged.append((self.done, value))
        return value

    def best_head(self) -> SegmentationHead:
        """Return the best head so far, in evaluation mode."""
        head = SegmentationHead(self.crops.maps[0].shape[-1], self.options.dim)
        head.load_state_dict(self.best)
        return head.eval()

    def state(self) -> dict[str, Tensor]:
        """Return the state of the fit as tensors, for `restore`."""
        out = {f"head.{name}": value for name, value in self.head.state_dict().items()}
        out |= {f"best.{name}": value for name, value in self.best.items()}
        for number, values in self.optimiser.state_dict()["state"].items():
            out |= {f"adam.{number}.{name}": torch.as_tensor(value) for name, value in values.items()}
        out["losses"] = torch.tensor(self.losses, dtype=torch.float64)
        out["judged"] = torch.tensor(self.judged, dtype=torch.float64).reshape(-1, 2)
        return {name: value.detach().clone().contiguous() for name, value in out.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Resume the fit from a result of `state`.

        Parameters
        ----------
        state : dict of str to Tensor
            State of a fit with the same crops, settings and options.
        """
        self.head.load_state_dict(_under(state, "head."))
        self.best = _under(state, "best.")
        self.losses = state["losses"].tolist()
        self.judged = [(int(step), float(value)) for step, value in state["judged"].tolist()]
        self.done = len(self.losses)
        kept = self.optimiser.state_dict()
        numbers = {int(name.split(".")[1]) for name in state if name.startswith("adam.")}
        kept["state"] = {n: _under(state, f"adam.{n}.") for n in sorted(numbers)}
        self.optimiser.load_state_dict(kept)

    def _loss(self, chance: torch.Generator, count: int) -> Tensor:
        own = torch.randint(len(self.crops), (count,), generator=chance)
        column = torch.randint(self.neighbours.shape[1], (count,), generator=chance)
        partners = self.neighbours[own, column]
        here, there = (random_coordinates(count, self.settings.feature_samples, chance) for _ in range(2))
        features = self.crops.at(own, here)
        elsewhere = self.crops.at(own, there)
        others = self.crops.at(partners, there)
        codes, codes_elsewhere, codes_others = self.head(torch.cat([features, elsewhere, others])).split(count)
        perms = [permutation_without_self(count, chance) for _ in range(self.settings.neg_samples)]
        random = [(elsewhere[perm], codes_elsewhere[perm]) for perm in perms]
        return total_loss(self.settings, (features, codes), (others, codes_others), random)


def _chance(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value.clone() for name, value in state.items() if name.startswith(prefix)}
