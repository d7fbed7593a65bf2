"""A small RegionCLIP with seeded weights, for its tests and for the script that has open_clip run it."""

from __future__ import annotations

from typing import Any

import numpy as np

WIDTH, DEPTHS, SIDE, OUT = 8, (1, 1, 1, 1), 2, 24
TEXT = {"width": 64, "layers": 2, "words": 1300, "length": 16}


def weights(words: int = TEXT["words"], length: int = TEXT["length"]) -> dict[str, Any]:
    """Return all tensors by the published names, with OpenAI's names of the text encoder's."""
    random = np.random.default_rng(4)
    found: dict[str, Any] = {}

    def put(name: str, *shape: int, scale: float | None = None) -> None:
        spread = scale if scale is not None else np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        found[name] = random.normal(0, spread, shape).astype(np.float32)

    def norm(name: str, channels: int) -> None:
        put(f"{name}.bias", channels)
        put(f"{name}.running_mean", channels)
        for part in ("weight", "running_var"):
            found[f"{name}.{part}"] = random.uniform(0.7, 1.3, channels).astype(np.float32)

    half = WIDTH // 2
    for i, (inside, out) in enumerate(((3, half), (half, half), (half, WIDTH)), 1):
        put(f"backbone.conv{i}.weight", out, inside, 3, 3)
        norm(f"backbone.bn{i}", out)
    channels = WIDTH
    for stage in range(4):
        inner, name = WIDTH << stage, f"backbone.layer{stage + 1}.0"
        for i, (inside, out, kernel) in enumerate(((channels, inner, 1), (inner, inner, 3), (inner, 4 * inner, 1)), 1):
            put(f"{name}.conv{i}.weight", out, inside, kernel, kernel)
            norm(f"{name}.bn{i}", out)
        put(f"{name}.downsample.0.weight", 4 * inner, channels, 1, 1)
        norm(f"{name}.downsample.1", 4 * inner)
        channels = 4 * inner
    put("backbone.attnpool.positional_embedding", SIDE**2 + 1, channels, scale=0.1)
    for part in ("k_proj", "q_proj", "v_proj", "c_proj"):
        put(f"backbone.attnpool.{part}.weight", OUT if part == "c_proj" else channels, channels)
        put(f"backbone.attnpool.{part}.bias", OUT if part == "c_proj" else channels)
    wide = TEXT["width"]
    put("lang_encoder.token_embedding.weight", words, wide, scale=0.3)
    put("lang_encoder.positional_embedding", length, wide, scale=0.1)
    put("lang_encoder.text_projection", wide, OUT, scale=0.2)
    for i in range(TEXT["layers"]):
        name = f"lang_encoder.transformer.resblocks.{i}"
        put(f"{name}.attn.in_proj_weight", 3 * wide, wide)
        put(f"{name}.attn.in_proj_bias", 3 * wide)
        for part, out, inside in (
            ("attn.out_proj", wide, wide),
            ("mlp.c_fc", 4 * wide, wide),
            ("mlp.c_proj", wide, 4 * wide),
        ):
            put(f"{name}.{part}.weight", out, inside)
            put(f"{name}.{part}.bias", out)
        for part in ("ln_1", "ln_2"):
            put(f"{name}.{part}.weight", wide)
            put(f"{name}.{part}.bias", wide)
    put("lang_encoder.ln_final.weight", wide)
    put("lang_encoder.ln_final.bias", wide)
    return found


def pictures() -> Any:
    """Return two pictures of the size that the attention sees, (2, 3, 64, 64)."""
    return np.random.default_rng(1).normal(0, 1, (2, 3, 32 * SIDE, 32 * SIDE)).astype(np.float32)


def tokens() -> Any:
    """Return two texts; the last token of each has the largest number."""
    found = np.random.default_rng(2).integers(1, TEXT["words"] - 2, (2, TEXT["length"]))
    found[:, 0] = TEXT["words"] - 2
    found[0, 6:] = 0
    found[0, 5] = found[1, 11] = TEXT["words"] - 1
    found[1, 12:] = 0
    return found
