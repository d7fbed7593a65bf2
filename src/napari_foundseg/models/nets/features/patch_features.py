"""Features of patches, from transformers' vision models."""

from typing import Any

from torch import Tensor, nn


class PatchFeatures(nn.Module):
    """Network that returns the last hidden state of each patch of a picture.

    Parameters
    ----------
    net : torch.nn.Module
        A vision model of transformers whose ``last_hidden_state`` ends with the patches, after class and register
        tokens, or is a map.
    stride : int
        Side of the patches.
    """

    def __init__(self, net: Any, stride: int) -> None:
        super().__init__()
        self.net = net
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return features, `(B, D, H / stride, W / stride)`, of pictures, `(B, 3, H, W)`."""
        rows = x.shape[-2] // self.stride
        columns = x.shape[-1] // self.stride
        state: Tensor = self.net(pixel_values=x).last_hidden_state
        if state.ndim == 4:
            return state
        grid: Tensor = state[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))
        return grid
