from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import Sam

from napari_foundseg.models.catalog import row
from napari_foundseg.models.nets.tiny.tiny import (
    MORE_MIXERS,
    InstanceDecoder,
    TinyEncoder,
    build_foundseg_tiny,
    load_foundseg_tiny,
    save_foundseg_tiny,
)
from napari_foundseg.models.store import weights


@pytest.fixture(scope="module", params=["random", "shipped"])
def sam(request: pytest.FixtureRequest) -> Sam:
    torch.manual_seed(0)
    return build_foundseg_tiny() if request.param == "random" else load_foundseg_tiny(weights(row("foundseg-tiny")))[0]


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (200, 150, 3), dtype=np.uint8)


def test_the_reference_predictor_runs_unchanged(sam: Sam, picture: np.ndarray) -> None:
    predictor = SamPredictor(sam)
    predictor.set_image(picture)
    masks, scores, low = predictor.predict(np.array([[40, 50]]), np.array([1]), multimask_output=True)
    assert masks.shape == (3, 200, 150)
    assert low.shape == (3, 128, 128)
    assert ((scores >= 0) & (scores <= 1)).all()
    again, _, _ = predictor.predict(
        np.array([[40, 50], [100, 20]]), np.array([1, 0]), np.array([10, 10, 90, 90]), low[:1], multimask_output=False
    )
    assert again.shape == (1, 200, 150)


@pytest.mark.timeout(900)
def test_the_reference_generator_runs_unchanged(sam: Sam, picture: np.ndarray) -> None:
    generator = SamAutomaticMaskGenerator(sam, points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    assert isinstance(generator.generate(picture[:96, :96]), list)


def test_many_prompts_at_once_equal_each_alone(sam: Sam, picture: np.ndarray) -> None:
    predictor = SamPredictor(sam)
    predictor.set_image(picture)
    points = torch.rand(20, 1, 2) * 200
    labels = torch.ones(20, 1)
    together, scores, _ = predictor.predict_torch(points, labels, return_logits=True)
    for i in (0, 13, 19):
        alone, score, _ = predictor.predict_torch(points[i : i + 1], labels[i : i + 1], return_logits=True)
        torch.testing.assert_close(together[i], alone[0], atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(scores[i], score[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("side", [256, 512])
def test_encoder_and_instance_decoder_take_any_multiple_of_32(sam: Sam, side: int) -> None:
    with torch.inference_mode():
        features = sam.image_encoder(torch.zeros(1, 3, side, side))
        maps = InstanceDecoder().eval()(features)
    assert features.shape[-2:] == (side // 8, side // 8)
    assert maps.shape == (1, 3, side, side)


@pytest.mark.parametrize("version", MORE_MIXERS)
def test_weights_survive_the_file(version: str, tmp_path: Path) -> None:
    sam, decoder = build_foundseg_tiny(version), InstanceDecoder().eval()
    save_foundseg_tiny(sam, decoder, tmp_path / "w.safetensors")
    again, again_decoder = load_foundseg_tiny(tmp_path / "w.safetensors")
    for a, b in ((sam, again), (decoder, again_decoder)):
        for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            if x.is_floating_point():
                torch.testing.assert_close(x.half().float(), y, msg=name)


def test_a_wrong_file_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tensors = load_file(weights(row("foundseg-tiny")))
    first, second = list(tensors)[:2]
    metadata = {"format": "foundseg-tiny", "version": "3"}
    save_file({k: v for k, v in tensors.items() if k != first}, path, metadata)
    with pytest.raises(ValueError, match=first):
        load_foundseg_tiny(path)
    save_file({**tensors, second: torch.zeros(1, 1)}, path, metadata)
    with pytest.raises(ValueError, match=second):
        load_foundseg_tiny(path)
    save_file(tensors, path, {"format": "another"})
    with pytest.raises(ValueError, match="another"):
        load_foundseg_tiny(path)
    save_file(tensors, path, {**metadata, "version": "99"})
    with pytest.raises(ValueError, match=r"99.*expected.*version of 2, 3"):
        load_foundseg_tiny(path)


def test_more_mixers_change_nothing_before_they_learn() -> None:
    old, new = TinyEncoder("2").eval(), TinyEncoder("3").eval()
    new.load_state_dict(old.state_dict(), strict=False)
    picture = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(new(picture), old(picture))
