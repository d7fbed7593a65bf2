"""A dense conditional random field that moves class borders to edges of the image.

The model is Krähenbühl and Koltun's (NeurIPS 2011) with Potts compatibility: every pixel is joined to every other one,
by a Gaussian kernel in space and by one in space and colour. `refine_with_crf` runs its mean-field inference. On small
images it uses the kernels' matrices. On larger ones it uses filters: a separable convolution for the first kernel and
the permutohedral lattice (Adams, Baek and Davis 2010, `core.clusters.lattice`) for the second.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_foundseg.core.clusters.lattice import Lattice
from napari_foundseg.core.declared_fields import Declared

__all__ = ["CRF", "refine_with_crf"]

_Floats = NDArray[np.float32]
#: Most pixels for which the kernels are stored as matrices.
EXACT_PIXELS = 1024
#: Pixels above which the colour kernel reads only one pixel in four.
_SPARSE_PIXELS = 400_000
#: Rows of pixels to process at once: few enough to stay in the processor's cache.
_ROWS = 32
_THREADS = min(4, os.cpu_count() or 1)


class CRF(Declared):
    """Parameters of the field; the defaults are those that STEGO was published with."""

    iterations: int = Field(10, ge=1)
    """Iterations of the mean field."""
    gaussian_sigma: float = Field(1.0, gt=0)
    """Standard deviation of the spatial kernel, in pixels."""
    gaussian_weight: float = Field(3.0, ge=0)
    """Weight of the spatial kernel."""
    bilateral_sigma: float = Field(67.0, gt=0)
    """Spatial standard deviation of the bilateral kernel, in pixels."""
    colour_sigma: float = Field(3.0, gt=0)
    """Colour standard deviation of the bilateral kernel, in grey values of 255."""
    bilateral_weight: float = Field(4.0, ge=0)
    """Weight of the bilateral kernel."""


def refine_with_crf(
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
        Probability of each class; the sum over the classes is 1.
    rgb : (M, N, 3) ndarray of uint8
        The picture.
    exact : bool, optional
        Whether to use the kernels' matrices, whose memory grows with the square of the number of pixels. By default up
        to 1024 pixels. Probabilities of the filters differ from theirs by less than 0.02 on average.
    poll : callable
        Called before every iteration; may raise to stop.

    Returns
    -------
    (K, M, N) ndarray of float32
        Probabilities, as a view with moved axes.

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
    exact = rgb.shape[0] * rgb.shape[1] <= EXACT_PIXELS if exact is None else exact
    p = np.ascontiguousarray(np.moveaxis(probabilities, 0, -1), dtype=np.float32)
    unary = np.log(np.clip(p, 1e-5, 1.0))
    kernels = [kernel for kernel in _kernels(rgb, crf, exact) if kernel.weight]
    blocks = [slice(start, start + _ROWS) for start in range(0, len(unary), _ROWS)]
    q = np.empty_like(unary)
    following = np.empty_like(unary)
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(lambda rows: _softmax(unary[rows], q[rows]), blocks))
        for _ in range(crf.iterations):
            poll()
            for kernel in kernels:
                kernel.read(q, threads)

            def step(rows: slice, into: _Floats = following) -> None:
                energy = unary[rows].copy()
                for kernel in kernels:
                    energy += kernel.message(rows)
                _softmax(energy, into[rows])

            list(threads.map(step, blocks))
            q, following = following, q
    return np.moveaxis(q, -1, 0)


def _kernels(rgb: NDArray[np.uint8], crf: CRF, exact: bool) -> list[_Kernel]:
    height, width = rgb.shape[:2]
    place = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1).astype(np.float32)
    joint = np.concatenate([place / crf.bilateral_sigma, _colours(rgb) / crf.colour_sigma], -1)
    if exact:
        near: _Kernel = _Matrix(crf.gaussian_weight, place / crf.gaussian_sigma)
        return [near, _Matrix(crf.bilateral_weight, joint)]
    near = _Separable(crf.gaussian_weight, (height, width), crf.gaussian_sigma)
    step = 2 if height * width > _SPARSE_PIXELS else 1
    return [near, _LatticeFilter(crf.bilateral_weight, joint, step)]


def _colours(rgb: NDArray[np.uint8]) -> _Floats:
    """Return colours with as few channels as needed: one if all three are equal. Distances do not change."""
    if (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all():
        return rgb[..., :1].astype(np.float32) * np.float32(np.sqrt(3))
    return rgb.astype(np.float32)


class _Kernel(Protocol):
    """Messages of one kernel: `read` takes the probabilities of all pixels, `message` returns those for some rows."""

    weight: float

    def read(self, q: _Floats, threads: ThreadPoolExecutor) -> None:
        """Take (M, N, K) probabilities, which must not change until the last message is returned."""

    def message(self, rows: slice) -> _Floats:
        """Return the sum over all pixels of kernel times probability, times the weight, for a block of `_ROWS` rows."""


class _Matrix:
    """A kernel stored as the matrix of all pairs of pixels."""

    def __init__(self, weight: float, features: _Floats) -> None:
        self.weight = weight
        flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
        squares = (flat**2).sum(1)
        away = np.maximum(squares[:, None] + squares[None] - 2 * flat @ flat.T, 0)
        kernel = np.exp(-away / 2)
        norm = 1 / np.sqrt(kernel.sum(1))
        self._kernel = weight * kernel * norm[:, None] * norm[None]

    def read(self, q: _Floats, threads: ThreadPoolExecutor) -> None:  # noqa: ARG002 - the others need them
        self._messages = (self._kernel @ q.reshape(-1, q.shape[-1])).reshape(q.shape)

    def message(self, rows: slice) -> _Floats:
        return np.asarray(self._messages[rows], np.float32)


class _Separable:
    """A Gaussian in space, as one convolution per axis."""

    def __init__(self, weight: float, shape: tuple[int, int], sigma: float) -> None:
        self.weight = weight
        radius = max(1, round(4 * sigma))
        self._taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2)).astype(np.float32)
        ones = [np.convolve(np.ones(n), self._taps)[radius : radius + n] for n in shape]
        self._norm = (1 / np.sqrt(ones[0][:, None] * ones[1][None])).astype(np.float32)[..., None]

    def read(self, q: _Floats, threads: ThreadPoolExecutor) -> None:  # noqa: ARG002 - the others need them
        self._q = q

    def message(self, rows: slice) -> _Floats:
        radius = len(self._taps) // 2
        low = max(0, rows.start - radius)
        high = min(len(self._q), rows.stop + radius)
        down = _convolved(self._q[low:high] * self._norm[low:high], self._taps)[rows.start - low : rows.stop - low]
        across = _convolved(down.swapaxes(0, 1), self._taps).swapaxes(0, 1)
        across *= np.float32(self.weight) * self._norm[rows]
        return across


def _convolved(block: _Floats, taps: _Floats) -> _Floats:
    """Convolve along the first axis. Values beyond the ends count as 0."""
    radius = len(taps) // 2
    out: _Floats = block * taps[radius]
    for by in range(1, min(radius, len(block) - 1) + 1):
        weighted = block * taps[radius + by]
        out[by:] += weighted[:-by]
        out[:-by] += weighted[by:]
    return out


class _LatticeFilter:
    """A Gaussian in space and colour on the permutohedral lattice. It reads every `step`-th pixel of both axes.

    The matrices of the lattice include the kernel's normalisation, so that no separate pass is needed.
    """

    def __init__(self, weight: float, features: _Floats, step: int) -> None:
        from scipy.sparse import diags_array

        self.weight = weight
        height, width = features.shape[:2]
        self._lattice = Lattice(features.reshape(-1, features.shape[-1]))
        chosen = np.zeros((height, width), bool)
        chosen[min(step // 2, height - 1) :: step, min(step // 2, width - 1) :: step] = True
        read = self._lattice.slice_matrix
        ones = read @ self._lattice.blur(read[chosen.ravel()].sum(0)[:, None].astype(np.float32))
        norm = diags_array(1 / np.sqrt(np.maximum(ones[:, 0], 1e-12)), dtype=np.float32)
        read = (norm @ read).tocsr()
        self._splat = (read.T @ diags_array(chosen.ravel(), dtype=np.float32)).tocsr()
        blocks = range(0, height, _ROWS)
        self._slices = {start: np.float32(weight) * read[start * width : (start + _ROWS) * width] for start in blocks}

    def read(self, q: _Floats, threads: ThreadPoolExecutor) -> None:
        self._width, depth = q.shape[1:]
        self._values = self._lattice.blur(self._splat @ q.reshape(-1, depth), threads.map)

    def message(self, rows: slice) -> _Floats:
        out: _Floats = self._slices[rows.start] @ self._values
        return out.reshape(-1, self._width, out.shape[-1])


def _softmax(energy: _Floats, out: _Floats) -> None:
    """Write the softmax over the last axis to `out`."""
    np.subtract(energy, energy.max(-1, keepdims=True), out=out)
    np.exp(out, out=out)
    out /= out.sum(-1, keepdims=True)
