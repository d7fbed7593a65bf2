"""Networks of SAM 2, SAM 2.1 and EdgeTAM from published files and folders of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.family import WeightsView
from napari_foundseg.models.files import transformers_folder
from napari_foundseg.models.files.checkpoints import check, read_config, read_shapes, read_tensors
from napari_foundseg.models.files.network_bounds import network_outline
from napari_foundseg.models.sam.prompted_masks import SAM_PROTOCOLS
from napari_foundseg.models.sam.sam2_layout import (
    HIERAS,
    hiera_of,
    is_edgetam,
    is_version_2_1,
    origins,
    own_tensors,
    shape_of,
    tensor_of,
    video_settings,
)
from napari_foundseg.models.store import weight_files

__all__ = ["SAM2_PROTOCOLS", "WINDOW", "check_file", "encoder_options", "kind_of", "load_network", "protocols_of"]

#: Protocols of networks with a memory; all published files hold such networks.
SAM2_PROTOCOLS = (*SAM_PROTOCOLS, "Propagating")
#: Side in pixels of the square that the published networks take.
WINDOW = 1024
#: Classes of transformers by the ``model_type`` of a folder; those for video use all tensors of a published file.
_NETWORKS = {"sam2": "Sam2Model", "sam2_video": "Sam2VideoModel", "edgetam": "EdgeTamModel",
             "edgetam_video": "EdgeTamVideoModel"}  # fmt: skip


def kind_of(found: WeightsView) -> str:
    """Return ``sam2`` or ``edgetam`` if weights are of that kind, in either layout; else an empty string."""
    if (kind := str(found.config.get("model_type"))) in _NETWORKS:
        return kind.removesuffix("_video")
    own = own_tensors(found.shapes)
    if not own:
        return ""
    return "edgetam" if is_edgetam(own) else "sam2"


def protocols_of(found: WeightsView) -> tuple[str, ...]:
    """Return the protocols of weights. A folder whose network is for pictures only has no memory."""
    pictures = str(found.config.get("model_type")) in ("sam2", "edgetam")
    return SAM_PROTOCOLS if pictures else SAM2_PROTOCOLS


def check_file(found: WeightsView, window: int = WINDOW) -> None:
    """Raise CheckpointError if tensors of a published file are missing or of other shapes.

    A folder of transformers is not checked here, but when it is loaded.
    """
    own = own_tensors(found.shapes)
    if not own:
        return
    files = weight_files(found.path) if found.path.is_dir() else []
    if len(files) > 1:
        raise CheckpointError(
            f"{found.path} holds {len(files)} files of weights ({', '.join(file.name for file in files[:6])}), each a "
            "model of its own; import one of them."
        )
    _outlined(found.path, own, window)


def encoder_options(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the names of encoder and version of a SAM 2's weights, as options of a row."""
    own = own_tensors(shapes) or shapes
    size = hiera_of(own)
    hiera = HIERAS.get(size) if size else None
    name = hiera.name if hiera else f"of width {size[0]} and {sum(size[1])} blocks" if size else "unknown"
    return {"encoder": name, "version": "2.1" if is_version_2_1(own) else "2.0"}


def load_network(path: Path, device: str, window: int = WINDOW) -> Any:
    """Return the network of weights, in float32.

    Parameters
    ----------
    path : Path
        A published file, or a folder of transformers.
    device : str
        Where to put it.
    window : int
        Side in pixels of the network's square, for a published file; a folder has its own.

    Raises
    ------
    CheckpointError
        If tensors are missing or do not fit.
    """
    kind = str(read_config(path).get("model_type"))
    if kind in _NETWORKS:
        return transformers_folder.network(path, _NETWORKS[kind], device)
    own = own_tensors(read_shapes(path))
    if not own:
        raise CheckpointError(f"{path} holds no SAM 2 or EdgeTAM; import it again.")
    config = _outlined(path, own, window)
    tensors = own_tensors(read_tensors(path))
    renamed = {name: tensor_of(origin, tensors) for name, origin in origins(tensors).items()}
    del tensors
    return transformers_folder.network_of(path, _NETWORKS[config.model_type], config, renamed).to(device)


def _outlined(path: Path, own: Mapping[str, tuple[int, ...]], window: int) -> Any:
    """Return the configuration of a published file.

    Raises CheckpointError if its tensors do not make the network.
    """
    import transformers

    what = "EdgeTAM" if is_edgetam(own) else f"SAM {encoder_options(own)['version']}"
    if not is_edgetam(own) and hiera_of(own) not in HIERAS:
        size = hiera_of(own)
        told = f"a Hiera of width {size[0]} with {size[1]} blocks" if size else "no Hiera"
        raise CheckpointError(
            f"{path} is taken for {what}, but its encoder is {told}, which is none of the published sizes "
            f"({', '.join(hiera.name for hiera in HIERAS.values())}). It is incomplete or of another model; get it "
            "again, or convert it to a folder of transformers."
        )
    with transformers_folder.named(path, "The network"):
        settings = video_settings(own, window)
        config = transformers.CONFIG_MAPPING[settings["model_type"]].from_dict(settings)
        kind: Any = getattr(transformers, _NETWORKS[config.model_type])
        outline = network_outline(path, lambda: kind(config), own)
    found = {name: shape_of(origin, own) for name, origin in origins(own).items()}
    check(path, {name: tuple(value.shape) for name, value in outline.state_dict().items()}, found, what)
    return config
