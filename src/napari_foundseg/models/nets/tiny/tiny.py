"""`foundseg-tiny`, the network that ships with the plugin: a small SAM and an instance decoder on its features."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from napari_foundseg.models.nets.tiny.tiny_parts import (
    ConvNorm,
    Merge,
    Mixer,
    Narrow,
    Residual,
    draw_boxes,
    draw_points,
    enlarge,
)

WINDOW = 256
WIDTH = 128
GRID = WINDOW // 8
FINE4 = 32
FINE2 = 16
FEATURES = WIDTH + 4 * FINE4 + 16 * FINE2
CLICK_WIDTHS = (3.0, 12.0)
CHUNK = 8
FORMAT = "foundseg-tiny"
#: Mixers that the encoder of each file version has in addition to version 2's, at stride 16 and at stride 32.
MORE_MIXERS = {"2": (0, 0), "3": (2, 3)}


def split_features(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split the encoder's output into its maps at stride 8, 4 and 2.

    Parameters
    ----------
    features : Tensor, shape (B, 512, H, W)

    Returns
    -------
    tuple of Tensor, shapes (B, 128, H, W), (B, 32, 2 H, 2 W) and (B, 16, 4 H, 4 W)
    """
    coarse, fine4, fine2 = features.split([WIDTH, 4 * FINE4, 16 * FINE2], dim=1)
    return coarse, F.pixel_shuffle(fine4, 2), F.pixel_shuffle(fine2, 4)


class TinyEncoder(nn.Module):
    """A fully convolutional encoder: down to stride 32, then back up to stride 2.

    Parameters
    ----------
    version : str
        Version of the weight file, a key of `MORE_MIXERS`.
    """

    img_size = WINDOW

    def __init__(self, version: str) -> None:
        super().__init__()
        self.version = version
        more = zip((192, 224), MORE_MIXERS[version], strict=True)
        more16, more32 = ([Mixer(width, expansion=4) for _ in range(count)] for width, count in more)
        self.down2 = nn.Sequential(ConvNorm(3, 32, stride=2), ConvNorm(32, 32))
        self.down4 = nn.Sequential(ConvNorm(32, 64, stride=2), Residual(64))
        self.down8 = nn.Sequential(ConvNorm(64, 128, stride=2), Residual(128), Residual(128))
        self.down16 = nn.Sequential(ConvNorm(128, 192, stride=2), Residual(192), Residual(192), *more16)
        self.down32 = nn.Sequential(ConvNorm(192, 224, 3, 2), Mixer(224), Mixer(224), Mixer(224), *more32)
        self.up16 = Merge(224, 192, 160, 1)
        self.up8 = Merge(160, 128, 128, 1)
        self.up4 = Merge(128, 64, 64, 1)
        self.up2 = Merge(64, 32, 32, 1)
        self.out8 = nn.Conv2d(128, WIDTH, 1)
        self.out4 = nn.Conv2d(64, FINE4, 1)
        self.out2 = nn.Conv2d(32, FINE2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images.

        Parameters
        ----------
        x : Tensor, shape (B, 3, 8 H, 8 W)
            Normalised as `Sam.preprocess` does; both sides multiples of 32.

        Returns
        -------
        Tensor, shape (B, 512, H, W)
            The embedding at stride 8, followed by the maps at stride 4 and 2, pixel-unshuffled.
        """
        x2 = self.down2(x)
        x4 = self.down4(x2)
        x8 = self.down8(x4)
        x16 = self.down16(x8)
        y8 = self.up8(self.up16(self.down32(x16), x16), x8)
        y4 = self.up4(y8, x4)
        y2 = self.up2(y4, x2)
        fine4 = F.pixel_unshuffle(self.out4(y4), 2)
        fine2 = F.pixel_unshuffle(self.out2(y2), 4)
        return torch.cat([self.out8(y8), fine4, fine2], dim=1)


class TinyPromptEncoder(PromptEncoder):  # type: ignore[misc]
    """SAM's prompt encoder that also draws clicks and boxes as maps into the dense embedding.

    The sparse tokens are always the points (at least a padding one) and two corners (padding if there is no box).
    """

    def __init__(self) -> None:
        super().__init__(WIDTH, (GRID, GRID), (WINDOW, WINDOW), 16)
        maps = 2 * len(CLICK_WIDTHS) + 4
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(maps, 24, 2, 2), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 64, 2, 2), nn.BatchNorm2d(64),
            nn.ReLU(), nn.Conv2d(64, WIDTH, 1),
        )  # fmt: skip

    def forward(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Embed prompts.

        Parameters
        ----------
        points : tuple of Tensor, shapes (B, N, 2) and (B, N), or None
            Coordinates (x, y) in input pixels, and labels: 1 positive, 0 negative, -1 padding.
        boxes : Tensor, shape (B, 4), or None
            (x0, y0, x1, y1); rows of NaN mean no box.
        masks : Tensor, shape (B, 1, 128, 128), or None
            Logits; maps of NaN mean no mask.

        Returns
        -------
        tuple of Tensor, shapes (B, N + 2, 128) and (B, 128, 32, 32)
        """
        placed = self.placed(points, boxes, masks)
        maps = [self.drawn(*placed, boxes=True), self._mask_maps(len(placed[0]), masks)]
        return self.tokens(*placed), self.mask_downscaling(torch.cat(maps, dim=1))

    def placed(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return prompts with missing parts filled in.

        Parameters
        ----------
        points : tuple of Tensor, shapes (B, N, 2) and (B, N), or None
            As for `forward`.
        boxes : Tensor, shape (B, 4), or None
            As for `forward`.
        masks : Tensor, shape (B, 1, 128, 128), or None
            As for `forward`; gives the number of prompts if there are no points or boxes.

        Returns
        -------
        tuple of Tensor, shapes (B, N, 2), (B, N), (B, 4) and (B,)
            Points and their labels, boxes by the centres of their corner pixels, and which prompts have a box.
        """
        count = self._get_batch_size(points, boxes, masks)
        device = self._get_device()
        if points is None:
            points = torch.zeros(count, 1, 2, device=device), -torch.ones(count, 1, device=device)
        corners = torch.full((count, 4), torch.nan, device=device) if boxes is None else boxes.reshape(-1, 4)
        boxed = torch.isfinite(corners).all(dim=1)
        # The generator's points are float64; SAM's own encoder casts them too.
        return points[0].float(), points[1], corners.nan_to_num(0.0) + 0.5, boxed

    def tokens(self, coords: Tensor, labels: Tensor, corners: Tensor, boxed: Tensor) -> Tensor:
        """Embed prompts as tokens.

        Parameters
        ----------
        coords, labels, corners, boxed : Tensor
            As `placed` returns them.

        Returns
        -------
        Tensor, shape (B, N + 2, 128)
        """
        points = self._embed_points(coords, labels, pad=False)
        ends = self.pe_layer.forward_with_coords(corners.reshape(-1, 2, 2), self.input_image_size)
        kinds = torch.cat([self.point_embeddings[2].weight, self.point_embeddings[3].weight])
        ends = torch.where(boxed[:, None, None], ends + kinds, self.not_a_point_embed.weight)
        return torch.cat([points, ends], dim=1)

    def drawn(
        self, coords: Tensor, labels: Tensor, corners: Tensor, boxed: Tensor, *, boxes: bool, size: int | None = None
    ) -> Tensor:
        """Draw points and boxes as maps.

        Parameters
        ----------
        coords, labels, corners, boxed : Tensor
            As `placed` returns them.
        boxes : bool
            Whether boxes are drawn, too; their maps are the last.
        size : int, optional
            Side of the maps; by default of the whole window.

        Returns
        -------
        Tensor, shape (B, 4, size, size) or (B, 6, size, size)
        """
        stride = self.input_image_size[0] / self.mask_input_size[0]
        size = size or self.mask_input_size[0]
        clicks = draw_points(coords + 0.5, labels, size, stride, CLICK_WIDTHS)
        if not boxes:
            return clicks
        return torch.cat([clicks, draw_boxes(corners, size, stride) * boxed[:, None, None, None]], dim=1)

    def _mask_maps(self, count: int, masks: Tensor | None) -> Tensor:
        if masks is None:
            return torch.zeros(count, 2, *self.mask_input_size, device=self._get_device())
        given = torch.isfinite(masks[:, :, :1, :1]).to(masks.dtype)
        return torch.cat([torch.tanh(masks.nan_to_num(0.0) / 4), given.expand_as(masks)], dim=1)


class TinyMaskDecoder(MaskDecoder):  # type: ignore[misc]
    """SAM's mask decoder between convolutions, with the finer maps added while it enlarges.

    The quality head takes SAM's token and statistics that show how certain the mask is.
    """

    def __init__(self) -> None:
        transformer = TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=256, num_heads=4)
        super().__init__(transformer_dim=WIDTH, transformer=transformer, iou_head_hidden_dim=128)
        self.before = Narrow(WIDTH, 2)
        self.after = Narrow(WIDTH, 1)
        self.output_upscaling = nn.ModuleList(
            [nn.ConvTranspose2d(WIDTH, FINE4, 2, 2), ConvNorm(FINE4, FINE4),
             nn.ConvTranspose2d(FINE4, FINE2, 2, 2), nn.Conv2d(FINE2, FINE2, 3, padding=1)]
        )  # fmt: skip
        self.mask_bias = nn.Parameter(torch.full((self.num_mask_tokens,), -2.0))
        self.iou_prediction_head = nn.Sequential(
            nn.Linear(2 * WIDTH + 5 + FINE2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1)
        )

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Predict the masks of one image's prompts.

        Parameters
        ----------
        image_embeddings : Tensor, shape (1, 512, 32, 32)
            Output of `TinyEncoder`. With (G, 512, 32, 32), every B / G prompts have an image of their own.
        image_pe : Tensor, shape (1, 128, 32, 32)
        sparse_prompt_embeddings : Tensor, shape (B, N, 128)
        dense_prompt_embeddings : Tensor, shape (B, 128, 32, 32)

        Returns
        -------
        tuple of Tensor, shapes (B, 4, 128, 128) and (B, 4)
            Logits and predicted IoU, the single mask first.
        """
        fine = split_features(image_embeddings)
        sparse = sparse_prompt_embeddings
        dense = dense_prompt_embeddings
        if self.training or len(image_embeddings) > 1 or len(sparse) <= CHUNK:
            return self._decode(fine, image_pe, sparse, dense)
        chunks = zip(sparse.split(CHUNK), dense.split(CHUNK), strict=True)
        parts = [self._decode(fine, image_pe, *chunk) for chunk in chunks]
        return torch.cat([masks for masks, _ in parts]), torch.cat([quality for _, quality in parts])

    def _decode(
        self, fine: tuple[Tensor, Tensor, Tensor], image_pe: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([tokens.expand(len(sparse), -1, -1), sparse], dim=1)
        coarse = fine[0] if len(fine[0]) == 1 else fine[0].repeat_interleave(len(sparse) // len(fine[0]), dim=0)
        src = self.before(coarse + dense)
        hs, out = self.transformer(src, image_pe.expand_as(src), tokens)
        src = self.after(src + out.transpose(1, 2).reshape(src.shape))
        up = self._enlarge(src, fine[1], fine[2])
        kinds = hs[:, 1 : 1 + self.num_mask_tokens]
        hyper = torch.stack([mlp(kinds[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1)
        masks = (hyper @ up.flatten(2)).unflatten(2, up.shape[-2:]) / 4 + self.mask_bias[:, None, None]
        return masks, self._judge(hs, kinds, masks, up)

    def _enlarge(self, src: Tensor, fine4: Tensor, fine2: Tensor) -> Tensor:
        wide4, mix4, wide2, mix2 = self.output_upscaling
        times = len(src) // len(fine4) if len(fine4) > 1 else 1
        fine4 = fine4.repeat_interleave(times, dim=0)
        fine2 = fine2.repeat_interleave(times, dim=0)
        x = mix4(F.relu_(wide4(src) + fine4))
        return F.relu_(mix2(F.relu_(wide2(x) + fine2)))

    def _judge(self, hs: Tensor, kinds: Tensor, masks: Tensor, up: Tensor) -> Tensor:
        """Return the predicted IoU, `(B, 4)`, from the tokens and from the statistics of the masks."""
        with torch.autocast(masks.device.type, enabled=False):
            sure = torch.sigmoid(masks.detach().float()).flatten(2)
            hard = (sure > 0.5).float()
            area = hard.sum(2)
            union = torch.maximum(sure, hard).sum(2) + 1e-3
            expected = (sure * hard).sum(2) / union
            stable = ((sure > 0.73).sum(2) + 1e-3) / ((sure > 0.27).sum(2) + 1e-3)
            facts = [expected, stable, sure.amax(2), torch.log1p(area) / 5, (sure * (1 - sure)).sum(2) / union]
            inside = hard @ up.detach().float().flatten(2).transpose(1, 2) / (area + 1e-3)[..., None]
        token = hs[:, :1].expand_as(kinds)
        quality: Tensor = self.iou_prediction_head(
            torch.cat([token, kinds, torch.stack(facts, dim=2).to(kinds.dtype), inside.to(kinds.dtype)], dim=2)
        )
        return torch.sigmoid(quality.squeeze(2))


class InstanceDecoder(nn.Module):
    """Foreground, centre distance and boundary distance from the encoder's features; fully convolutional."""

    def __init__(self) -> None:
        super().__init__()
        self.up4 = Merge(WIDTH, FINE4, 64, 1)
        self.up2 = Merge(64, FINE2, 32, 2)
        self.out = nn.Conv2d(32, 3, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Predict the three maps.

        Parameters
        ----------
        features : Tensor, shape (B, 512, H, W)

        Returns
        -------
        Tensor, shape (B, 3, 8 H, 8 W)
            Logits of foreground, centre distance and boundary distance (the caller applies the sigmoid).
        """
        coarse, fine4, fine2 = split_features(features)
        maps = self.out(self.up2(self.up4(coarse, fine4), fine2))
        return enlarge(maps)


def build_foundseg_tiny(version: str = "2") -> Sam:
    """Return the promptable model of a file version, with random weights and in eval mode."""
    sam = Sam(
        image_encoder=TinyEncoder(version),
        prompt_encoder=TinyPromptEncoder(),
        mask_decoder=TinyMaskDecoder(),
        pixel_mean=[96.0, 96.0, 96.0],
        pixel_std=[64.0, 64.0, 64.0],
    )
    return sam.eval()


def gather_weights(sam: Sam, decoder: InstanceDecoder) -> dict[str, Tensor]:
    """Return the weights as they are stored in the file, without the batch counters of normalisation."""
    states = {f"sam.{k}": v for k, v in sam.state_dict().items()}
    states |= {f"instance_decoder.{k}": v for k, v in decoder.state_dict().items()}
    return {k: v.detach() for k, v in states.items() if not k.endswith("num_batches_tracked")}


def save_foundseg_tiny(sam: Sam, decoder: InstanceDecoder, path: Path | str) -> None:
    """Write the weights of both networks to one float16 safetensors file."""
    tensors = {k: v.half().contiguous().clone() for k, v in gather_weights(sam, decoder).items()}
    save_file(tensors, str(path), metadata={"format": FORMAT, "version": sam.image_encoder.version})


def load_foundseg_tiny(path: Path | str) -> tuple[Sam, InstanceDecoder]:
    """Read the weights of both networks.

    Parameters
    ----------
    path : Path or str

    Returns
    -------
    tuple of Sam and InstanceDecoder
        In float32 and eval mode.

    Raises
    ------
    ValueError
        If the file is not foundseg-tiny's, or a key is missing, unexpected or of another shape.
    """
    decoder = InstanceDecoder().eval()
    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error
    version = metadata.get("version")
    if metadata.get("format") != FORMAT or version not in MORE_MIXERS:
        expected = f"the format {FORMAT} and a version of {', '.join(MORE_MIXERS)}"
        raise ValueError(f"{path} has the metadata {metadata}, expected {expected}")
    sam = build_foundseg_tiny(version)
    check_weights(gather_weights(sam, decoder), tensors)
    for prefix, module in (("sam.", sam), ("instance_decoder.", decoder)):
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        module.load_state_dict(own, strict=False)
    return sam, decoder


def check_weights(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> None:
    """Raise `ValueError` naming the keys that are missing, unexpected or of another shape."""
    missing = sorted(expected.keys() - got.keys())
    unexpected = sorted(got.keys() - expected.keys())
    if missing or unexpected:
        raise ValueError(f"weights of foundseg-tiny: missing keys {missing}, unexpected keys {unexpected}")
    wrong = [
        f"{key} is {tuple(got[key].shape)}, expected {tuple(value.shape)}"
        for key, value in expected.items()
        if got[key].shape != value.shape
    ]
    if wrong:
        raise ValueError(f"weights of foundseg-tiny of another shape: {'; '.join(wrong)}")
