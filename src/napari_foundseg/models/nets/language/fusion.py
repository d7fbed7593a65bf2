"""The fusion of GLIP (Li et al., CVPR 2022): places of a picture and tokens of a text attend to each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["TextPictureFusion", "fuse"]

#: Heads of the attention, and bounds of its scores.
_HEADS = 8
_BOUND = 50_000.0


class TextPictureFusion(nn.Module):
    """A layer of the fusion, with `channels` of the picture, `width` of the text, and `inner` of the attention."""

    def __init__(self, channels: int, width: int, inner: int) -> None:
        super().__init__()
        self.layer_norm_v = nn.LayerNorm(channels)
        self.layer_norm_l = nn.LayerNorm(width)
        self.gamma_v = nn.Parameter(torch.zeros(channels))
        self.gamma_l = nn.Parameter(torch.zeros(width))
        self.attn = nn.ModuleDict(
            {
                "v_proj": nn.Linear(channels, inner),
                "l_proj": nn.Linear(width, inner),
                "values_v_proj": nn.Linear(channels, inner),
                "values_l_proj": nn.Linear(width, inner),
                "out_v_proj": nn.Linear(inner, channels),
                "out_l_proj": nn.Linear(inner, width),
            }
        )

    def forward(self, places: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return places, (K, C), and tokens, (T, D), after they have attended to each other."""
        # The attention is added to the normalised features.
        places, tokens = self.layer_norm_v(places), self.layer_norm_l(tokens)
        of_places, of_tokens = fuse(
            self.attn["v_proj"](places),
            self.attn["l_proj"](tokens),
            self.attn["values_v_proj"](places),
            self.attn["values_l_proj"](tokens),
            _HEADS,
        )
        places = places + self.gamma_v * self.attn["out_v_proj"](of_places)
        tokens = tokens + self.gamma_l * self.attn["out_l_proj"](of_tokens)
        return places, tokens


def fuse(
    places: Tensor, tokens: Tensor, place_values: Tensor, token_values: Tensor, heads: int
) -> tuple[Tensor, Tensor]:
    """Return the attention of places to tokens, (K, E), and of tokens to places, (T, E), with E split among `heads`."""
    place_keys, token_keys, place_values, token_values = (
        one.unflatten(-1, (heads, -1)).transpose(0, 1) for one in (places, tokens, place_values, token_values)
    )
    scores = (place_keys * place_keys.shape[-1] ** -0.5) @ token_keys.transpose(1, 2)
    scores = scores.clamp(-_BOUND, _BOUND)
    of_places = scores.softmax(-1) @ token_values
    of_tokens = scores.transpose(1, 2).softmax(-1) @ place_values
    return of_places.transpose(0, 1).flatten(1), of_tokens.transpose(0, 1).flatten(1)
