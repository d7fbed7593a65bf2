"""What the colours of drawn pictures are: grey, one colour, dyes on black, or real colours."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
from numpy.typing import NDArray
from scipy import ndimage

from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.image import Image
from napari_foundseg.core.pixels.colour import FoundColour, find_colour

Pixels = NDArray[Any]
COLOURS = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "magenta": (1, 0, 1),
    "cyan": (0, 1, 1),
    "yellow": (1, 1, 0),
    "orange": (1, 0.6, 0),
}


def nuclei(seed: int = 0, shape: tuple[int, int] = (160, 200)) -> NDArray[np.float64]:
    """Even discs of 16 px with a soft edge, of differing brightness, on a dark ground."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    picture = np.full(shape, 6.0)
    for y, x in zip(rng.integers(12, shape[0] - 12, 14), rng.integers(12, shape[1] - 12, 14), strict=True):
        picture = np.maximum(picture, rng.uniform(120, 240) * (np.hypot(rows - y, columns - x) < 8))
    return ndimage.gaussian_filter(picture, 0.7)


def cytoplasm(grey: Pixels) -> Pixels:
    spread = ndimage.gaussian_filter(grey, 10)
    return np.asarray(spread * (140 / spread.max()))


def painted(*dyes: tuple[Pixels, str]) -> NDArray[np.uint8]:
    mixed = sum(grey[..., None] * np.array(COLOURS[name]) for grey, name in dyes)
    return np.asarray(mixed).clip(0, 255).astype(np.uint8)


def as_jpeg(picture: NDArray[np.uint8], quality: int = 75) -> NDArray[np.uint8]:
    file = io.BytesIO()
    PIL.Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(file))


def with_bar(picture: NDArray[np.uint8], colour: int | tuple[int, int, int] = 255) -> NDArray[np.uint8]:
    picture = picture.copy()
    picture[-14:-10, -60:-10] = colour
    return picture


def noisy(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(0, 15, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8)


SPOILED = {
    "plain": lambda picture: picture,
    "jpeg": as_jpeg,
    "bar": with_bar,
    "bar in a jpeg": lambda picture: as_jpeg(with_bar(picture)),
    "noise": noisy,
    "gamma": lambda picture: (255 * (picture / 255) ** 0.5).astype(np.uint8),
    "offset": lambda picture: (picture * 0.85 + 25).astype(np.uint8),
    "too bright": lambda picture: (picture.astype(int) * 2).clip(0, 255).astype(np.uint8),
    "16 bits": lambda picture: picture.astype(np.uint16) * 16,
    "float": lambda picture: picture / np.float32(255),
    "alpha": lambda picture: np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)]),
}


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("name", COLOURS)
def test_one_colour_on_black_is_grey(name: str, how: str) -> None:
    found = find_colour([SPOILED[how](painted((nuclei(), name)))])
    assert found.kind == "one colour"
    assert [dye.name for dye in found.dyes] in ([name], ["orange"]) or how in ("too bright", "gamma")
    assert max(COLOURS[name][channel] for channel in found.channels) == 1, "a channel that holds the whole picture"
    assert f"{found.dyes[0].name} only, as grey" == found.words


@pytest.mark.parametrize(
    ("nucleus", "cell"),
    [
        ("blue", "green"),
        ("blue", "red"),
        ("green", "red"),
        ("red", "green"),
        ("green", "blue"),
        ("magenta", "green"),
        ("green", "magenta"),
        ("cyan", "red"),
        ("blue", "yellow"),
    ],
)
@pytest.mark.parametrize("how", ["plain", "jpeg", "noise"])
def test_of_two_dyes_that_of_the_nuclei_is_used(nucleus: str, cell: str, how: str) -> None:
    grey = nuclei()
    found = find_colour([SPOILED[how](painted((grey, nucleus), (cytoplasm(grey), cell)))])
    assert found.kind == "dyes"
    assert {dye.name for dye in found.dyes} == {nucleus, cell}
    assert found.dyes[0].name == nucleus
    assert COLOURS[nucleus][found.channels[0]] == 1
    assert COLOURS[cell][found.channels[0]] == 0
    assert nucleus in found.why
    assert cell in found.why
    assert "Choose another colour" in found.why


@pytest.mark.parametrize("size", [30, 10])
@pytest.mark.parametrize("name", COLOURS)
def test_few_cells_on_much_black_are_one_colour(name: str, size: int) -> None:
    picture = np.zeros((600, 700, 3), np.uint8)
    for corner in ((50, 60), (300, 400), (500, 90)):
        rows, columns = (slice(at, at + size) for at in corner)
        picture[rows, columns] = np.array(COLOURS[name]) * 210
    assert find_colour([picture]).kind == "one colour"
    assert COLOURS[name][find_colour([picture]).channels[0]] == 1
    assert find_colour([with_bar(picture)]).kind == "one colour"


def test_a_scale_bar_hides_no_dyes() -> None:
    grey = nuclei()
    merged = painted((grey, "blue"), (cytoplasm(grey), "green"))
    for picture in (with_bar(merged), as_jpeg(with_bar(merged))):
        assert (find_colour([picture]).kind, find_colour([picture]).channels) == ("dyes", (2,))


def test_of_three_dyes_blue_is_used_where_it_shows_nuclei() -> None:
    found = find_colour([painted((nuclei(), "blue"), (nuclei(1), "green"), (nuclei(2), "red"))])
    assert (found.kind, found.channels) == ("dyes", (2,))
    assert sorted(dye.name for dye in found.dyes) == ["blue", "green", "red"]


def stained() -> NDArray[np.uint8]:
    """White slide, pink tissue and purple nuclei."""
    picture = np.full((160, 200, 3), 242.0)
    picture[20:, 30:] -= ndimage.gaussian_filter(np.random.default_rng(0).normal(60, 60, (140, 170)), 4)[..., None] * [
        0.3,
        1.0,
        0.5,
    ]
    picture -= (nuclei() / 255)[..., None] * [120, 150, 60]
    return picture.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "name", ["astronaut", "chelsea", "coffee", "rocket", "retina", "hubble_deep_field", "immunohistochemistry"]
)
@pytest.mark.parametrize("how", ["plain", "jpeg", "16 bits"])
def test_photographs_and_stained_tissue_stay_rgb(name: str, how: str) -> None:
    found = find_colour([SPOILED[how](getattr(skimage.data, name)())])
    assert (found.kind, found.channels, found.words) == ("colour", (0, 1, 2), "")
    assert "RGB" in found.why


@pytest.mark.parametrize("how", ["plain", "jpeg", "bar", "float"])
def test_a_drawn_stain_and_one_colour_on_white_stay_rgb(how: str) -> None:
    assert find_colour([SPOILED[how](stained())]).kind == "colour"
    assert find_colour([SPOILED[how](255 - painted((nuclei(), "yellow")))]).kind == "colour"


def test_three_equal_channels_are_grey() -> None:
    grey = np.repeat(nuclei().astype(np.uint8)[..., None], 3, -1)
    for picture in (grey, 255 - grey, as_jpeg(grey, 60), grey.astype(np.uint16) * 200):
        assert find_colour([picture]).kind == "grey"
        assert find_colour([picture]).channels == (0, 1, 2)
    one = grey.copy()
    one[5, 7] = 255, 0, 0
    assert find_colour([one]).kind == "grey"
    found = find_colour([with_bar(grey, (255, 0, 0))])
    assert found.kind == "grey"
    assert found.channels in ((1,), (2,)), "the bar is black there"
    assert "marks" in found.why


def test_constant_transparent_and_not_finite_pictures() -> None:
    blue = painted((nuclei(), "blue"))
    assert find_colour([np.zeros((40, 50, 3), np.uint8)]).channels == (0, 1, 2)
    assert find_colour([np.full((40, 50, 3), (0, 0, 9), np.uint8)]).channels == (0, 1, 2)
    assert find_colour([np.full((40, 50, 3), np.nan, np.float32)]).channels == (0, 1, 2)
    assert find_colour([np.full((3, 2, 4), 7, np.uint8)]).kind == "grey"
    broken = blue / np.float32(255)
    broken[3, 4] = np.nan
    assert find_colour([broken]).channels == (2,)
    alpha = np.full(blue.shape[:2], 255, np.uint8)
    alpha[:, :50] = 0
    padded = np.where(alpha[..., None] == 0, np.uint8(255), blue)
    found = find_colour([np.dstack([padded, alpha])])
    assert found.channels == (2,)
    assert "25 % of the pixels are transparent" in found.hidden
    whole = find_colour([np.dstack([blue, np.zeros_like(alpha)])])
    assert whole.channels == (2,)
    assert "wholly transparent" in whole.hidden


def test_a_stack_has_one_answer_and_its_slices_have_the_same() -> None:
    planes = np.stack([painted((nuclei(seed), "blue")) // (seed + 1) for seed in range(3)])
    planes[1] = 0
    image = Image(planes, "ZYXC")
    assert image.found_colour is not None
    assert image.found_colour.kind == "one colour"
    seen = image.seen_as(Limits(low=0, high=200), "one dye")
    assert seen.channels == (2,)
    plane = Image(planes[1], "YXC", normalisation=Limits(low=0, high=9), whole=image)
    assert plane.seen_as(Limits(low=0, high=9), "one dye").channels == (2,)


def test_a_choice_of_channels_is_kept() -> None:
    blue = painted((nuclei(), "blue"))
    expected = Limits(low=0, high=200)
    assert Image(blue).seen_as(expected, "one dye").channels == (2,)
    assert Image(blue).seen_as(expected).channels == (0, 1, 2), "a model of photographs wants RGB"
    for chosen in ((0, 1, 2), (1,), "red", ("red", "blue")):
        image = Image(blue, channels=chosen)
        assert image.seen_as(expected, "one dye").channels == image.channels
        assert replace(image, spacing={"X": 2.0}).seen_as(expected, "one dye").channels == image.channels
    assert Image(blue, channels="Blue").channel_choice == "channel 3 of 3 (blue)"
    assert replace(Image(blue), spacing={"X": 2.0}).seen_as(expected, "one dye").channels == (2,)


def test_dyes_stay_rgb_where_the_user_says_where_objects_are() -> None:
    grey = nuclei()
    image = Image(painted((grey, "blue"), (cytoplasm(grey), "green")))
    assert image.seen_as(Limits(low=0, high=200), "grey").channels == (0, 1, 2)
    assert image.seen_as(Limits(low=0, high=200), "one dye").channels == (2,)


def test_what_was_found_is_written_down_and_read_again() -> None:
    found = find_colour([painted((nuclei(), "magenta"))])
    assert FoundColour.of_record(found.to_record()) == found


def test_a_lazy_picture_is_read_no_more_than_its_sample() -> None:
    class Counted:
        """Tells how many slices were read."""

        shape = (500, 96, 96, 3)
        dtype = np.dtype(np.uint8)
        reads = 0

        def __getitem__(self, key: Any) -> Any:
            type(self).reads += 1
            return painted((nuclei(shape=(96, 96)), "green"))[key[1:]]

    image = Image(Counted(), "ZYXC")
    assert Counted.reads == 0
    found = image.found_colour
    assert found is not None
    assert found.channels == (1,)
    assert Counted.reads <= 16
