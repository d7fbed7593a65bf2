"""STEGO's losses against plain loops written from the formulas, and its fit."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from napari_foundseg.models.nets.stego.stego import (
    PRESETS,
    ClusterProbe,
    CorrespondenceSettings,
    SegmentationHead,
    correspondence_loss,
    permutation_without_self,
    random_coordinates,
    sample_at,
    total_loss,
)
from napari_foundseg.models.nets.stego.stego_fit import Crops, Fit, FitOptions, balanced, nearest_crops


def _cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.detach(), b.detach()
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    norms = [math.sqrt(sum(float(x) ** 2 for x in v)) for v in (a, b)]
    return dot / (max(norms[0], 1e-10) * max(norms[1], 1e-10))


def _looped(f, g, c, d, bias, *, pointwise, zero_clamp, stabilised):
    count, _, side, _ = f.shape
    places = list(itertools.product(range(side), range(side)))
    fd = {(n, p, q): _cosine(f[n, :, *p], g[n, :, *q]) for n in range(count) for p in places for q in places}
    if pointwise:
        old = sum(fd.values()) / len(fd)
        for n in range(count):
            for p in places:
                mean = sum(fd[n, p, q] for q in places) / len(places)
                for q in places:
                    fd[n, p, q] -= mean
        new = sum(fd.values()) / len(fd)
        fd = {key: value - new + old for key, value in fd.items()}
    out = torch.zeros(count, side, side, side, side)
    for n, p, q in fd:
        cd = _cosine(c[n, :, *p], d[n, :, *q])
        cd = max(cd, 0.0 if zero_clamp else -9999.0)
        cd = min(cd, 0.8) if stabilised else cd
        out[n, p[0], p[1], q[0], q[1]] = -cd * (fd[n, p, q] - bias)
    return out


@pytest.mark.parametrize("pointwise", [True, False])
@pytest.mark.parametrize("zero_clamp", [True, False])
@pytest.mark.parametrize("stabilised", [True, False])
def test_the_loss_is_that_of_the_formulas(pointwise: bool, zero_clamp: bool, stabilised: bool) -> None:
    torch.manual_seed(3)
    f, g = torch.randn(2, 5, 3, 3), torch.randn(2, 5, 3, 3)
    c, d = torch.randn(2, 3, 3, 3), torch.randn(2, 3, 3, 3)
    switches = {"pointwise": pointwise, "zero_clamp": zero_clamp, "stabilised": stabilised}
    found = correspondence_loss(f, g, c, d, 0.2, **switches)
    torch.testing.assert_close(found, _looped(f, g, c, d, 0.2, **switches), atol=1e-5, rtol=1e-4)


def test_the_total_weighs_self_neighbours_and_random_partners() -> None:
    torch.manual_seed(1)
    pairs = [(torch.randn(2, 4, 2, 2), torch.randn(2, 3, 2, 2)) for _ in range(4)]
    own, near, *random = pairs
    settings = PRESETS["cityscapes"]
    switches = {"pointwise": True, "zero_clamp": True, "stabilised": False}

    def loss(partner, bias):
        return float(_looped(own[0], partner[0], own[1], partner[1], bias, **switches).mean())

    expected = (
        1.0 * loss(own, 0.4582847)
        + 0.5774535 * loss(near, 0.1754347)
        + 0.9058763 * sum(loss(one, 0.3136124) for one in random) / 2
    )
    assert float(total_loss(settings, own, near, random)) == pytest.approx(expected, abs=1e-5)


def test_gradients_are_those_of_finite_differences_and_none_reach_the_features() -> None:
    torch.manual_seed(2)
    f, g = (torch.randn(1, 4, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    c, d = (torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: correspondence_loss(f, g, a, b, 0.1, zero_clamp=False).mean(), (c, d))
    correspondence_loss(f, g, c, d, 0.1).mean().backward()
    assert f.grad is None
    assert c.grad is not None


def test_the_cluster_probe_is_the_cosine_with_the_nearest_centre() -> None:
    torch.manual_seed(0)
    probe = ClusterProbe(4, 3)
    codes = torch.randn(1, 4, 2, 2, requires_grad=True)
    cosines = [[_cosine(codes[0, :, y, x], k) for k in probe.clusters] for y in range(2) for x in range(2)]
    assert float(probe.loss(codes).detach()) == pytest.approx(-sum(max(row) for row in cosines) / 4, abs=1e-5)
    expected = torch.log_softmax(2 * torch.tensor(cosines), 1).T.reshape(1, 3, 2, 2)
    torch.testing.assert_close(probe(codes), expected, atol=1e-5, rtol=1e-4)
    probe.loss(codes).backward()
    assert codes.grad is None


def test_no_image_is_its_own_random_partner() -> None:
    for seed in range(20):
        perm = permutation_without_self(5, torch.Generator().manual_seed(seed))
        assert (perm != torch.arange(5)).all()


def test_crops_are_read_at_the_points_as_grid_sample_reads_them() -> None:
    torch.manual_seed(0)
    crops = Crops([torch.randn(9, 7, 4), torch.randn(1, 1, 4)])
    numbers = torch.tensor([0, 3, 4, 5])
    points = random_coordinates(4, 5, torch.Generator().manual_seed(1))
    found = crops.at(numbers, points)
    for i, number in enumerate(numbers.tolist()):
        which, (y, x, height, width) = crops.boxes[number]
        part = crops.maps[which][y : y + height, x : x + width].movedim(-1, 0)[None]
        torch.testing.assert_close(found[i : i + 1], sample_at(part, points[i : i + 1]), atol=1e-5, rtol=1e-4)


def test_nearest_crops_leave_out_the_crop_itself_where_they_can() -> None:
    pooled = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]]), dim=1)
    assert nearest_crops(pooled, 1)[:, 0].tolist() == [1, 0, 3, 2]
    assert nearest_crops(pooled, 9).shape == (4, 3)
    assert nearest_crops(pooled[:1], 7).tolist() == [[0]]


def _maps() -> list[torch.Tensor]:
    """Maps of two kinds of features, which lie in stripes, with noise."""
    torch.manual_seed(5)
    kinds = torch.randn(2, 12)
    stripes = (torch.arange(16) // 4) % 2
    return [kinds[stripes].expand(16, 16, 12) + 0.6 * torch.randn(16, 16, 12) for _ in range(3)]


def _fitted(steps: int) -> Fit:
    crops = Crops(_maps())
    settings = balanced(crops, CorrespondenceSettings(feature_samples=6), 0)
    fit = Fit(crops, settings, FitOptions(dim=6, batch_size=8, learning_rate=5e-3))
    for _ in range(steps):
        fit.step()
    return fit


def test_a_fit_draws_codes_of_one_kind_together_and_those_of_two_apart() -> None:
    fit = _fitted(60)
    fit.judge()
    codes = fit.best_head()(_maps()[0].movedim(-1, 0)[None])[0].flatten(1).T
    codes = torch.nn.functional.normalize(codes, dim=1)
    alike = codes @ codes.T
    kinds = ((torch.arange(16) // 4) % 2).repeat(16)
    same = kinds[:, None] == kinds
    assert alike[same].mean() > alike[~same].mean() + 0.5


def test_more_pairs_are_drawn_together_where_more_places_belong_together() -> None:
    crops = Crops(_maps())
    few, many = (balanced(crops, CorrespondenceSettings(feature_samples=6), 0, alike) for alike in (0.2, 0.8))
    assert few.bias_self == few.bias_rand == few.bias_knn > many.bias_rand
    every = torch.stack(_maps()).flatten(0, 2)
    every = torch.nn.functional.normalize(every, dim=1)
    above = (every @ every.T > many.bias_rand).float().mean()
    assert abs(float(above) - 0.8) < 0.2


def test_a_fit_that_goes_on_is_the_fit_that_never_stopped() -> None:
    whole, half = _fitted(8), _fitted(4)
    half.judge()
    again = _fitted(0)
    again.restore(half.state())
    for _ in range(4):
        again.step()
    assert again.losses == whole.losses
    for name, value in whole.head.state_dict().items():
        assert torch.equal(value, again.head.state_dict()[name])


def test_the_best_head_is_kept_when_later_ones_are_worse() -> None:
    fit = _fitted(30)
    best = fit.judge()
    kept = {name: value.clone() for name, value in fit.best.items()}
    with torch.no_grad():
        for parameter in fit.head.parameters():
            parameter.copy_(torch.randn_like(parameter))
    assert fit.judge() > best
    assert all(torch.equal(fit.best[name], kept[name]) for name in kept)


def test_the_first_head_is_kept_unless_a_later_one_is_clearly_better() -> None:
    ratings = iter([-0.60, -0.605, -0.59, -0.62, -0.615])
    crops = Crops(_maps())
    settings = CorrespondenceSettings(feature_samples=4)
    fit = Fit(crops, settings, FitOptions(dim=6, batch_size=4), rate=lambda _: next(ratings), least_gain=0.01)
    kept = []
    for _ in range(5):
        fit.judge()
        kept.append(fit.best["cluster1.0.weight"].clone())
        fit.step()
    assert torch.equal(kept[1], kept[0])
    assert torch.equal(kept[2], kept[0])
    assert not torch.equal(kept[3], kept[0])
    assert torch.equal(kept[4], kept[3])


def test_the_head_adds_a_linear_map_and_a_network() -> None:
    head = SegmentationHead(3, 2).eval()
    x = torch.randn(1, 3, 2, 2)
    hidden = torch.relu(torch.einsum("oc,bchw->bohw", head.cluster2[0].weight[:, :, 0, 0], x)
                        + head.cluster2[0].bias[:, None, None])  # fmt: skip
    expected = head.cluster1(x) + head.cluster2[2](hidden)
    torch.testing.assert_close(head(x), expected)
