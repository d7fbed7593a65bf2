"""Drawn scenes with their truth, by kind: microscopy, histology, medical pictures, materials, everyday things."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scenes import plain
from scenes.adherent import draw_adherent
from scenes.blood import draw_blood
from scenes.endoscopy import draw_lesions, draw_polyps
from scenes.even import draw_even
from scenes.membranes import draw_axons, draw_epithelium, draw_neurites
from scenes.microbes import draw_bacteria, draw_yeast
from scenes.organs import draw_bent, draw_head, draw_lungs, draw_slice, draw_vessels
from scenes.painting import Rng, Scene
from scenes.particles import draw_carbides, draw_grains, draw_nanoparticles, draw_powder, draw_precipitates
from scenes.plants import draw_foliage, draw_rosettes
from scenes.things import draw_branches, draw_things
from scenes.tissue import draw_tissue


class Kind(NamedTuple):
    """What draws a scene with a generator of random numbers, and its share, as a part of the sum of all."""

    draw: Callable[[Rng], Scene]
    share: float
    #: Whether all objects of its scenes are labelled.
    complete: bool = True


#: The first is the frozen generator of commit c8018b5, which a benchmark draws with.
KINDS = {
    "plain": Kind(plain.draw, 0.2),
    "even": Kind(draw_even, 0.18),
    "adherent": Kind(draw_adherent, 0.14),
    "tissue": Kind(draw_tissue, 0.12),
    # Cells or mitochondria are labelled, never both.
    "neurites": Kind(draw_neurites, 0.07, complete=False),
    "epithelium": Kind(draw_epithelium, 0.04),
    "axons": Kind(draw_axons, 0.05),
    "head": Kind(draw_head, 0.03),
    "vessels": Kind(draw_vessels, 0.04),
    "lungs": Kind(draw_lungs, 0.03),
    "slice": Kind(draw_slice, 0.05),
    "bent": Kind(draw_bent, 0.03),
    "polyps": Kind(draw_polyps, 0.03),
    "lesions": Kind(draw_lesions, 0.02),
    "blood": Kind(draw_blood, 0.05),
    "bacteria": Kind(draw_bacteria, 0.04),
    "yeast": Kind(draw_yeast, 0.04),
    "powder": Kind(draw_powder, 0.03),
    "nanoparticles": Kind(draw_nanoparticles, 0.03),
    "precipitates": Kind(draw_precipitates, 0.02),
    "carbides": Kind(draw_carbides, 0.02),
    "grains": Kind(draw_grains, 0.02),
    "rosettes": Kind(draw_rosettes, 0.03),
    "foliage": Kind(draw_foliage, 0.03),
    "things": Kind(draw_things, 0.06),
    "branches": Kind(draw_branches, 0.03),
}


def draw(kind: str, seed: int) -> Scene:
    """Return scene number `seed` of a kind and its truth, `(H, W, 3)` and `(H, W)`, uint8 and uint16."""
    rng = np.random.default_rng([seed, 77] if kind == "plain" else [seed, *kind.encode()])
    return KINDS[kind].draw(rng)
