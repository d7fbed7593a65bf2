"""A dense conditional random field that draws class borders to where the image has edges.

The model is Krähenbühl and Koltun's (NeurIPS 2011) with Potts compatibility: every pixel is joined to every other one,
by a Gaussian kernel in space and by one in space and colour. `refine` runs its mean-field inference; small images by
the kernels' matrices, larger ones by filters: a separable convolution for the first kernel, the permutohedral lattice
(Adams, Baek and Davis 2010, `core.lattice`) for the second.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_foundseg.core.declared import Declared
from napari_foundseg.core.lattice import Lattice

__all__ = ["CRF", "refine"]

_Floats = NDArray[np.float32]
#: Given (M, N, K) probabilities, the sum over all pixels of kernel times probability.
_Filter = Callable[[_Floats], _Floats]
#: Pixels up to which the kernels are kept as matrices.
EXACT_PIXELS = 1024
#: Pixels above which the colour kernel gathers from one pixel in four.
_SPARSE_PIXELS = 400_000
_ROWS = 32


class CRF(Declared):
    """Parameters of the field; the defaults are those that STEGO was published with."""

    iterations: int = Field(10, ge=1)
    """Of the mean field."""
    gaussian_sigma: float = Field(1.0, gt=0)
    """Of the kernel in space, in pixels."""
    gaussian_weight: float = Field(3.0, ge=0)
    """Of that kernel."""
    bilateral_sigma: float = Field(67.0, gt=0)
    """In space, of the kernel in space and colour, in pixels."""
    colour_sigma: float = Field(3.0, gt=0)
    """In colour, of that kernel, in grey values of 255."""
    bilateral_weight: float = Field(4.0, ge=0)
    """Of that kernel."""


def refine(
    probabilities: NDArray[Any],
    rgb: NDArray[np.uint8],
    crf: CRF | None = None,
    *,
    exact: bool | None = None,
    poll: Callable[[], None] = lambda: None,
) -> _Floats:
    """Run the mean field: ``Q = softmax(log p + sum_m w_m D_m^(-1/2) K_m D_m^(-1/2) Q)``, all pixels at once.

    Each kernel includes the pixel itself and is normalised symmetrically by its row sums ``D``, as in the authors'
    code.

    Parameters
    ----------
    probabilities : (K, M, N) ndarray of float
        Of each class; summing to 1 over the classes.
    rgb : (M, N, 3) ndarray of uint8
        The picture.
    crf : CRF, optional
        Parameters.
    exact : bool, optional
        Whether to use the kernels' matrices, which need memory for the square of the number of pixels; by default up to
        1024 pixels. The filters differ from them by less than 0.02 in the mean probability.
    poll : callable
        Called before every iteration; may raise to stop.

    Returns
    -------
    (K, M, N) ndarray of float32
        Probabilities; an axis-swapped view.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    crf = crf or CRF()
    if probabilities.ndim != 3 or rgb.shape != (*probabilities.shape[1:], 3):
        raise ValueError(
            f"probabilities are (K, M, N) and the picture (M, N, 3), got {probabilities.shape} and {rgb.shape}"
        )
    shape = rgb.shape[:2]
    exact = shape[0] * shape[1] <= EXACT_PIXELS if exact is None else exact
    p = np.ascontiguousarray(np.moveaxis(probabilities, 0, -1), dtype=np.float32)
    unary = np.log(np.clip(p, 1e-5, 1.0))
    with ThreadPoolExecutor(2) as threads:
        kernels = [(w, k) for w, k in _kernels(rgb, crf, exact, threads) if w]
        q = unary.copy()
        _softmax(q, threads)
        for _ in range(crf.iterations):
            poll()
            total = unary.copy()
            for weight, kernel in kernels:
                _add(total, kernel(q), weight, threads)
            q = total
            _softmax(q, threads)
    return np.moveaxis(q, -1, 0)


def _kernels(rgb: NDArray[np.uint8], crf: CRF, exact: bool, threads: ThreadPoolExecutor) -> list[tuple[float, _Filter]]:
    height, width = rgb.shape[:2]
    place = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1).astype(np.float32)
    joint = np.concatenate([place / crf.bilateral_sigma, _colours(rgb) / crf.colour_sigma], -1)
    if exact:
        near: _Filter = _Matrix(place / crf.gaussian_sigma)
        similar: _Filter = _Matrix(joint)
    else:
        near = _Separable((height, width), crf.gaussian_sigma, threads)
        step = 2 if height * width > _SPARSE_PIXELS else 1
        similar = _LatticeFilter(joint, step)
    return [(crf.gaussian_weight, near), (crf.bilateral_weight, similar)]


def _colours(rgb: NDArray[np.uint8]) -> _Floats:
    """Return colours, as one channel where all three are equal: distances stay what they are."""
    if (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all():
        return rgb[..., :1].astype(np.float32) * np.float32(np.sqrt(3))
    return rgb.astype(np.float32)


class _Matrix:
    """A kernel as the matrix of all pairs of pixels."""

    def __init__(self, features: _Floats) -> None:
        flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
        squares = (flat**2).sum(1)
        away = np.maximum(squares[:, None] + squares[None] - 2 * flat @ flat.T, 0)
        kernel = np.exp(-away / 2)
        norm = 1 / np.sqrt(kernel.sum(1))
        self._kernel = kernel * norm[:, None] * norm[None]

    def __call__(self, q: _Floats) -> _Floats:
        return np.asarray((self._kernel @ q.reshape(-1, q.shape[-1])).reshape(q.shape), np.float32)


class _Separable:
    """A Gaussian in space, by one convolution an axis."""

    def __init__(self, shape: tuple[int, int], sigma: float, threads: ThreadPoolExecutor) -> None:
        radius = max(1, round(4 * sigma))
        self._taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2)).astype(np.float32)
        self._threads = threads
        ones = [np.convolve(np.ones(n), self._taps)[radius : radius + n] for n in shape]
        self._norm = (1 / np.sqrt(ones[0][:, None] * ones[1][None])).astype(np.float32)[..., None]

    def __call__(self, q: _Floats) -> _Floats:
        out = np.empty_like(q)
        radius = len(self._taps) // 2

        def rows(start: int) -> None:
            stop = min(start + _ROWS, len(q))
            low, high = max(0, start - radius), min(len(q), stop + radius)
            block = q[low:high] * self._norm[low:high]
            down = _convolved(block, self._taps)[start - low : stop - low]
            across = _convolved(down.swapaxes(0, 1), self._taps).swapaxes(0, 1)
            np.multiply(across, self._norm[start:stop], out=out[start:stop])

        list(self._threads.map(rows, range(0, len(q), _ROWS)))
        return out


def _convolved(block: _Floats, taps: _Floats) -> _Floats:
    """Convolve along the first axis; beyond the ends there is nothing."""
    radius = len(taps) // 2
    out: _Floats = block * taps[radius]
    for by in range(1, min(radius, len(block) - 1) + 1):
        weighted = block * taps[radius + by]
        out[by:] += weighted[:-by]
        out[:-by] += weighted[by:]
    return out


class _LatticeFilter:
    """A Gaussian in space and colour, on the permutohedral lattice; gathers from every `step`-th pixel of both axes."""

    def __init__(self, features: _Floats, step: int) -> None:
        self._shape, self._step = features.shape[:2], step
        self._lattice = Lattice(features.reshape(-1, features.shape[-1]))
        self._chosen: Any = slice(None)
        if step > 1:
            numbers = np.arange(features.shape[0] * features.shape[1]).reshape(self._shape)
            self._chosen = numbers[step // 2 :: step, step // 2 :: step].ravel()
        self._splat = self._lattice.splat_matrix(self._chosen)
        ones = self._filtered(np.ones((len(numbers.ravel()) if step > 1 else features[..., 0].size, 1), np.float32))
        self._norm = (1 / np.sqrt(np.maximum(ones, 1e-12))).astype(np.float32)

    def __call__(self, q: _Floats) -> _Floats:
        flat = q.reshape(-1, q.shape[-1]) * self._norm
        return (self._filtered(flat) * self._norm).reshape(q.shape)

    def _filtered(self, values: _Floats) -> _Floats:
        return self._lattice.slice(self._lattice.blur(self._splat @ values[self._chosen]))


def _softmax(q: _Floats, threads: ThreadPoolExecutor) -> None:
    def rows(start: int) -> None:
        block = q[start : start + _ROWS]
        block -= block.max(-1, keepdims=True)
        np.exp(block, out=block)
        block /= block.sum(-1, keepdims=True)

    list(threads.map(rows, range(0, len(q), _ROWS)))


def _add(total: _Floats, message: _Floats, weight: float, threads: ThreadPoolExecutor) -> None:
    def rows(start: int) -> None:
        total[start : start + _ROWS] += np.float32(weight) * message[start : start + _ROWS]

    list(threads.map(rows, range(0, len(total), _ROWS)))
