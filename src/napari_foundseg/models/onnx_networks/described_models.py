"""Loaded networks for pictures, by the meaning of their output: classes, objects, or flows. Works with any runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_sets import numbered_classes
from napari_foundseg.models.loaded import class_table
from napari_foundseg.models.onnx_networks.description import MapDescription, NetworkDescription
from napari_foundseg.models.onnx_networks.network import PictureNetwork
from napari_foundseg.models.onnx_networks.ports import PictureInput

__all__ = ["NetworkClasses", "NetworkFlows", "NetworkMaps", "check_count", "described_fields", "described_model"]

#: Number of maps that an output has, by its meaning. For "classes", any number is valid.
_COUNTS = {"object": (1,), "class numbers": (1,), "object and boundary": (2, 3), "distances": (3,), "flows": (3,)}
#: Number of classes that is assumed if a file does not state it.
_UNNAMED = 21
_PROTOCOLS = {"object and boundary": "InstanceDecoding", "distances": "InstanceDecoding", "flows": "FlowDecoding"}
#: Thresholds for described networks. The task's own defaults are tuned for the maps of foundseg-tiny.
_HALVES = {
    "foreground_threshold": 0.5,
    "centre_threshold": 0.5,
    "boundary_threshold": 0.5,
    "seed_smoothing": 0.0,
    "pred_iou_thresh": 0.0,
}


class _NetworkModel:
    """A network with the name and key of its row in the catalogue."""

    def __init__(self, network: PictureNetwork, row: CatalogRow) -> None:
        self.network = network
        self.name = row.name
        self.key = row.key
        self.window = network.window

    @property
    def device(self) -> str:
        """Device that the network runs on."""
        return self.network.runtime.device

    def _maps(self, rgb: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the network's maps of a picture; as probabilities, unless they are class scores or class numbers."""
        network = self.network
        maps = network.maps(network.prepared(rgb))
        check_count(network.path, network.description, len(maps))
        kind = network.description.output
        if network.description.values == "probabilities" or kind == "class numbers":
            return maps
        # Class scores need no softmax: it would not change which class is the highest.
        several = len(maps) > 2 and kind == "object and boundary"
        if kind == "classes":
            return maps
        return _softmax(maps) if several else _sigmoid(maps)


class NetworkClasses(_NetworkModel):
    """A network that predicts classes, or separates objects from background; implements `SemanticClasses`."""

    def __init__(self, network: PictureNetwork, row: CatalogRow) -> None:
        super().__init__(network, row)
        self.classes, self.first = class_table(row.classes, things=False)

    def semantic(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return the class of each pixel, (M, N)."""
        maps = self._maps(rgb)
        kind = self.network.description.output
        if kind == "object":
            return np.asarray(maps[0] > 0.5, np.uint16)
        numbers = np.rint(maps[0]).astype(np.int64) if kind == "class numbers" else maps.argmax(0)
        ids = numbers + self.first
        if ids.min(initial=0) < 0 or ids.max(initial=0) > len(self.classes):
            named = len(self.classes) + 1 - self.first
            raise CheckpointError(
                f"{self.name} returned class number {int(numbers.max())}, but {named} classes are named. Name them "
                "all: import it again with --set classes=…, or Describe… in Models."
            )
        return np.asarray(ids, np.uint16)


class NetworkMaps(_NetworkModel):
    """A network that predicts the maps of an instance decoder; implements `InstanceDecoding`."""

    @property
    def maps_window(self) -> int:
        """Largest side of a picture that is not shrunk, in pixels."""
        return max(32, self.window // 32 * 32)

    def instance_maps(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return foreground, centre distance and boundary distance, (3, M, N)."""
        maps = self._maps(rgb).astype(np.float32)
        if self.network.description.output == "distances":
            return maps
        inside, boundary = maps[-2:]
        # Seeds are the places where the inside is likely and the boundary is not; the boundary belongs to the object.
        return np.stack([np.clip(inside + boundary, 0, 1), 1 - inside, boundary])


class NetworkFlows(_NetworkModel):
    """A network like Cellpose; implements `FlowDecoding`."""

    def flow_maps(self, picture: NDArray[np.float32], poll: Callable[[], None]) -> NDArray[np.float32]:
        """Return flows and the logit of the object probability, (3, M, N); overlapping tiles are averaged."""
        from napari_foundseg.models.nets.cellpose.cellpose_sam import tapered, tile_starts

        channels = self.network.input.channels
        seen = picture[..., :channels]
        seen = np.pad(seen, ((0, 0), (0, 0), (0, channels - seen.shape[2])))
        side = self.window
        weight = tapered(side).numpy().astype(np.float32)
        rows, columns = seen.shape[:2]
        total = np.zeros((3, rows, columns), np.float32)
        weights = np.zeros((rows, columns), np.float32)
        for y in tile_starts(rows, side):
            for x in tile_starts(columns, side):
                poll()
                maps = self.network.maps(self.network.normalised(seen[y : y + side, x : x + side]))
                check_count(self.network.path, self.network.description, len(maps))
                own = weight[: maps.shape[1], : maps.shape[2]]
                total[:, y : y + side, x : x + side] += maps * own
                weights[y : y + side, x : x + side] += own
        return total / weights


_KINDS: dict[str, type[NetworkClasses | NetworkMaps | NetworkFlows]] = {
    "InstanceDecoding": NetworkMaps,
    "FlowDecoding": NetworkFlows,
    "SemanticClasses": NetworkClasses,
}


def described_model(network: PictureNetwork, row: CatalogRow) -> NetworkClasses | NetworkMaps | NetworkFlows:
    """Return the model of a row whose network is already loaded."""
    return _KINDS[row.protocols[0]](network, row)


def described_fields(
    path: Path, port: PictureInput, count: int | None, description: MapDescription, said: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the catalogue fields of a network.

    `count`: number of maps that it returns, None if unknown. `said`: facts that were stated, not guessed.
    """
    if count is not None:
        check_count(path, description, count)
    protocol = _PROTOCOLS.get(description.output, "SemanticClasses")
    classes = _classes(description, count) if protocol == "SemanticClasses" else ()
    colour = "grey" if port.channels == 1 else "RGB"
    return {
        "title": path.stem,
        "protocols": (protocol,),
        "input": f"2-D, {colour}, {_size_words(port, description)}",
        "classes": classes,
        "expects": description.contrast,
        "colours": colour,
        "options": description.options,
        "defaults": {"automatic.decoder": _HALVES} if protocol == "InstanceDecoding" else {},
        "assumed": _assumed(description, classes, said),
    }


def _classes(description: MapDescription, count: int | None) -> tuple[str, ...]:
    """Return the names of the classes, one for each map."""
    named = description.class_names
    if description.output == "object":
        return ("background", *(named[-1:] or ("object",)))
    if description.output == "classes" and count is not None:
        if named and len(named) != count:
            raise CheckpointError(
                f"The network tells {count} classes apart, but {len(named)} are named ({description.classes:.200}). "
                "Name all, the background too."
            )
        return named or ("background", *numbered_classes(count, 1))
    return named or ("background", *numbered_classes(_UNNAMED, 1))


def check_count(path: Path, description: MapDescription, count: int) -> None:
    """Raise CheckpointError if a network returns more or fewer maps than the meaning of its output requires."""
    wanted = _COUNTS.get(description.output)
    if wanted is not None and count not in wanted:
        raise CheckpointError(
            f"{path} returns {count} maps; for {description.output!r} it would be {' or '.join(map(str, wanted))}. Say "
            "what its output means: --set output=… of models import, or Describe… in Models."
        )


def _size_words(port: PictureInput, description: MapDescription) -> str:
    rows, columns = port.size or (description.size,) * 2
    return f"in tiles of {rows} x {columns} pixels"


def _assumed(description: MapDescription, classes: tuple[str, ...], said: Any) -> str:
    """Return a text with the facts that were assumed; empty if the user or the file states all of them."""
    facts = {
        "output": f"output: {description.output}",
        "values": f"values of the output: {description.values}",
        "contrast": f"contrast: {description.contrast}",
    }
    if isinstance(description, NetworkDescription):
        facts["input_values"] = f"values of the input: {description.input_values}"
    if classes:
        names = ", ".join(classes[:6]) + (" …" if len(classes) > 6 else "")
        facts["classes"] = f"classes: {names}"
    guessed_facts = [text for name, text in facts.items() if name not in said]
    if not guessed_facts:
        return ""
    return (
        f"The file does not say all of it, so it was assumed: {'; '.join(guessed_facts)}. Change it "
        "by Describe… in Models, or --set of models import"
    )


def _sigmoid(maps: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-maps.astype(np.float32))), np.float32)


def _softmax(maps: NDArray[Any]) -> NDArray[np.float32]:
    powers = np.exp(maps.astype(np.float32) - maps.max(0))
    return np.asarray(powers / powers.sum(0), np.float32)
