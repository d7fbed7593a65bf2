"""Packages of bioimage.io: test arrays of its own library are reproduced, and nothing runs unasked."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.cli import app
from napari_foundseg.core.errors import CheckpointError, CodeNotAllowedError, FoundsegError, PackageError, SettingsError
from napari_foundseg.models.bioimageio.meaning import example_array
from napari_foundseg.models.bioimageio.network import _planes, open_package
from napari_foundseg.models.bioimageio.rdf import read_facts
from napari_foundseg.models.catalog import row as row_of
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.onnx_networks.description import PackageDescription, description_of
from napari_foundseg.tasks.task_models import tasks_for
from tests.models.families.instances.test_onnx_network import Inside, SmallUnet, blocks
from tests.support.bioimageio_packages import Levels, described, write_package, zipped

pytestmark = pytest.mark.usefixtures("own_cache")
#: Written by bioimageio.spec and run by bioimageio.core: see tests/oracles/bioimageio_outputs.py.
DATA = Path(__file__).parents[3] / "data" / "bioimageio"
_AS_IT_IS = fs.Limits(low=0, high=255)


def write_weights(folder: Path) -> list[Path]:
    torch.manual_seed(0)
    flows = described(names=("flow y", "flow x", "probability"))
    return [
        write_package(folder / "levels", described(), Levels()),
        zipped(write_package(folder / "inside", described(names=("foreground", "boundary")), Inside(), kind="onnx")),
        write_package(folder / "flows", flows, SmallUnet(1, 3)),
    ]


TINY_WEIGHTS = {"bioimageio": write_weights}


def unpacked(name: str, folder: Path) -> Path:
    with zipfile.ZipFile(DATA / f"{name}.zip") as archive:
        archive.extractall(folder / name)
    return folder / name


def changed(folder: Path, change: Any, *, letters: str = "bcyx") -> Path:
    """Write a package whose description was changed."""
    description = described(letters)
    write_package(folder, description, Levels(letters))
    change(description)
    (folder / "rdf.yaml").write_text(yaml.safe_dump(description))
    return folder


def expected(picture: Any) -> Any:
    return (picture > 64).astype(int) + (picture > 191)


def image(picture: Any) -> fs.Image:
    return fs.Image(picture, "YX", normalisation=_AS_IT_IS)


@pytest.mark.parametrize("name", ["onnx", "torchscript", "python", "old"])
@pytest.mark.parametrize("packed", [True, False])
def test_test_arrays_of_a_package_are_reproduced(tmp_path: Path, name: str, packed: bool) -> None:
    facts = read_facts(DATA / f"{name}.zip" if packed else unpacked(name, tmp_path))
    network = open_package(facts, PackageDescription(run_code=True), "cpu")
    given, wanted = (example_array(facts, tensor) for tensor in (facts.inputs[0], facts.outputs[0]))
    assert given is not None
    assert wanted is not None
    picture = _planes(given, facts.inputs[0].letters).transpose(1, 2, 0).astype(np.float32)
    found = network.maps(network.normalised(picture))
    assert np.abs(found - _planes(wanted, facts.outputs[0].letters)).max() < 1e-4


def test_published_layouts_are_imported_by_the_command_line_and_run_on_pictures_and_stacks(tmp_path: Path) -> None:
    outputs = {
        "onnx": "object and boundary",
        "torchscript": "classes",
        "python": "object",
        "old": "object and boundary",
    }
    pixels = np.random.default_rng(0).integers(0, 255, (2, 70, 90), np.uint8)
    for name, output in outputs.items():
        result = CliRunner().invoke(
            app, ["models", "import", str(DATA / f"{name}.zip"), *(["--run-code"] if name == "python" else [])]
        )
        assert result.exit_code == 0, result.output
        row = row_of(name)
        description = description_of(row)
        assert description is not None
        assert description.output == output
        assert row.title == f"small {name} network"
        assert row.weights_licence == ("MIT" if name == "old" else "CC-BY-4.0")
        assert "Nobody" in row.citation
        for image_of in (fs.Image(pixels[0], "YX"), fs.Image(pixels, "ZYX")):
            run: Any = fs.semantic if tasks_for(row) == ("semantic",) else fs.automatic
            more = {} if run is fs.semantic else {"method": "decoder"}
            assert run(image_of, model=name, **more).labels.shape == image_of.data.shape
    assert row_of("torchscript").classes == ("background", "dim", "bright")
    assert "holds no Python" in row_of("torchscript").assumed
    assert "as you allowed" in row_of("python").assumed


@pytest.mark.parametrize("kind", ["torchscript", "onnx", "python"])
@pytest.mark.parametrize("packed", [True, False])
def test_grey_values_reach_the_network_as_its_package_says(tmp_path: Path, kind: str, packed: bool) -> None:
    net = None if kind == "python" else Levels()
    folder = write_package(tmp_path / "net", described(), net, kind=kind)
    facts = {"run_code": True} if kind == "python" else {}
    row = import_model(zipped(folder) if packed else folder / "rdf.yaml", "net", facts=facts)
    assert row.classes == ("background", "dim", "bright")
    assert row.expects == "as is"
    found = fs.semantic(image(blocks()), model="net")
    assert np.array_equal(found.labels, expected(blocks()))
    assert [one.name for one in found.classes] == ["dim", "bright"]


@pytest.mark.parametrize("letters", ["bcyx", "byxc", "cyx", "yxc", "bczyx", "xycb"])
def test_axes_may_be_in_any_order_and_thin_ones_of_one_element(tmp_path: Path, letters: str) -> None:
    description = described(letters)
    for tensor in (*description["inputs"], *description["outputs"]):
        for axis in tensor["axes"]:
            if axis.get("id") == "z":
                axis["size"] = 1
    import_model(write_package(tmp_path / "net", description, Levels(letters)), "net")
    assert np.array_equal(fs.semantic(image(blocks()), model="net").labels, expected(blocks()))


def test_sizes_are_those_that_a_package_allows(tmp_path: Path) -> None:
    def fix(description: dict[str, Any]) -> None:
        for axis in description["inputs"][0]["axes"]:
            if axis["type"] == "space":
                axis["size"] = 64

    row = import_model(changed(tmp_path / "net", fix), "net")
    assert "64 x 64" in row.input
    for shape in ((5, 7), (64, 64), (63, 200)):
        picture = np.zeros(shape, np.uint8)
        picture[:, shape[1] // 2 :] = 255
        assert np.array_equal(fs.semantic(image(picture), model="net").labels == 2, picture > 0)


def test_objects_and_boundaries_are_told_by_the_names_of_channels(tmp_path: Path) -> None:
    picture = np.zeros((64, 64), np.uint8)
    picture[8:40, 8:56] = 128
    picture[10:38, 10:31] = picture[10:38, 33:54] = 255
    row = import_model(write_package(tmp_path / "two", described(names=("interior", "cell border")), Inside()), "two")
    assert tasks_for(row) == ("automatic",)
    description = description_of(row)
    assert description is not None
    assert description.output == "object and boundary"
    row = import_model(tmp_path / "two", "said", facts={"values": "probabilities"})
    found = fs.automatic(image(picture), model="said", method="decoder")
    assert found.labels.max() == 2
    assert np.array_equal(found.labels > 0, picture > 0)


def test_python_of_a_package_runs_only_when_the_user_agrees(tmp_path: Path) -> None:
    description = described()
    folder = write_package(tmp_path / "net", description)
    mark = tmp_path / "it ran"
    entry = description["weights"]["pytorch_state_dict"]
    entry["architecture"]["kwargs"] = {"mark": str(mark)}
    (folder / "rdf.yaml").write_text(yaml.safe_dump(description))
    with pytest.raises(CodeNotAllowedError, match=r"is Python \(Net in net.py.*Nothing of it was run.*--run-code"):
        import_model(folder)
    refused = CliRunner().invoke(app, ["models", "import", str(folder)])
    assert refused.exit_code != 0
    assert not mark.exists()
    import_model(folder, "net", facts={"run_code": "yes"})
    assert not mark.exists()
    fs.semantic(image(blocks()), model="net")
    assert mark.exists()
    # What was agreed to was this Python, and no other.
    import_model(folder, "again", facts={"run_code": "yes"})
    (folder / "net.py").write_text((folder / "net.py").read_text() + "\n# changed\n")
    with pytest.raises(CheckpointError, match=r"has changed since its import.*Import it again"):
        load_model("again")


def test_python_that_fails_is_named(tmp_path: Path) -> None:
    def imported(source: str, **more: Any) -> Any:
        name = hashlib.sha256(source.encode()).hexdigest()[:8]
        description = described()
        folder = write_package(tmp_path / name, description)
        (folder / "net.py").write_text(source)
        description["weights"]["pytorch_state_dict"]["architecture"] |= more
        (folder / "rdf.yaml").write_text(yaml.safe_dump(description))
        return load_model(import_model(folder, name, facts={"run_code": True}).name)

    with pytest.raises(PackageError, match="needs a package that is not installed"):
        imported("import no_such_package")
    with pytest.raises(CheckpointError, match="cannot be run: ZeroDivisionError"):
        imported("1 / 0")
    with pytest.raises(CheckpointError, match="cannot be run: AttributeError"):
        imported("Other = 1")
    with pytest.raises(CheckpointError, match=r"not a torch\.nn\.Module"):
        imported("def Net(): return 1")
    with pytest.raises(CheckpointError, match=r"The weights of .* are not those of Net"):
        imported("from torch import nn\ndef Net(): return nn.Conv2d(1, 1, 1)")
    with pytest.raises(CheckpointError, match="is not the file that the package describes"):
        imported("# other", sha256="0" * 64)


def test_a_network_of_an_installed_package_is_python_too(tmp_path: Path) -> None:
    description = described()
    folder = write_package(tmp_path / "net", description)
    architecture = {"import_from": "torch.nn", "callable": "Conv2d"}
    architecture["kwargs"] = {"in_channels": 1, "out_channels": 3, "kernel_size": 1}  # type: ignore[assignment]
    description["weights"]["pytorch_state_dict"] |= {"architecture": architecture, "sha256": None}
    torch.save(nn.Conv2d(1, 3, 1).state_dict(), folder / "net.pt")
    (folder / "rdf.yaml").write_text(yaml.safe_dump(description))
    with pytest.raises(CodeNotAllowedError, match=r"Conv2d in the installed package torch"):
        import_model(folder)
    import_model(folder, "net", facts={"run_code": True})
    assert fs.semantic(blocks(), model="net").labels.shape == blocks().shape


def _into_volume(description: dict[str, Any]) -> None:
    description["inputs"][0]["axes"].insert(2, {"type": "space", "id": "z", "size": {"min": 8, "step": 8}})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["weights"]["torchscript"].update(sha256="0" * 64), "is not the file that the package describes"),
        (lambda d: d["weights"]["torchscript"].update(source="other.pt"), "lacks 'other.pt'"),
        (lambda d: d["weights"]["torchscript"].update(source="../net.pt"), "lies outside the package"),
        (lambda d: d["weights"]["torchscript"].update(source="/etc/passwd"), "lies outside the package"),
        (lambda d: d["weights"]["torchscript"].update(source="https://a.b/net.pt"), "not in the package and is not"),
        (lambda d: d.update(weights={"tensorflow_js": {"source": "net.zip"}}), "weights for tensorflow_js; those that"),
        (lambda d: d.update(weights={}), "weights for none; those that can be run"),
        (lambda d: d.update(type="dataset"), "with a 'dataset', no model"),
        (lambda d: d.update(format_version="0.3.2"), "version '0.3.2' of bioimage.io's format; 0.4 and 0.5"),
        (lambda d: d["inputs"][0]["preprocessing"].insert(0, {"id": "equalise"}), "preprocessing 'equalise', which is"),
        (lambda d: d["inputs"][0]["preprocessing"].insert(0, {"id": "scale_linear", "kwargs": {"gain": [1, 2]}}),
         "preprocessing 'scale_linear' with .* cannot be done"),
        (lambda d: d["outputs"][0].update(postprocessing=[{"id": "stardist_postprocessing"}]), "postprocessing 'stard"),
        (lambda d: d["outputs"][0].update(postprocessing=[{"id": "clip", "kwargs": {"reference_tensor": "raw"}}]),
         "by the values of another array"),
        (lambda d: d["inputs"].append(d["inputs"][0]), "takes 2 inputs"),
        (_into_volume, "takes volumes"),
        (lambda d: d["inputs"][0]["axes"][1].update(channel_names=["a", "b"]), "pictures of 2 channels"),
        (lambda d: d["outputs"][0].update(id="affinities"), "affinities of neighbouring pixels"),
        (lambda d: d["inputs"][0]["axes"].pop(), "a picture has y and x"),
        (lambda d: d["outputs"][0]["axes"][2].update(size={"tensor_id": "raw", "axis_id": "y", "offset": -20}),
         "convolutions without padding"),
        (lambda d: d.update(inputs="picture"), "has an invalid description"),
        (lambda d: d["outputs"].clear(), "has an invalid description"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_and_nothing_is_written(tmp_path: Path, change: Any, words: str) -> None:
    folder = changed(tmp_path / "net", change)
    for path in (folder, zipped(folder)):
        with pytest.raises(FoundsegError, match=words):
            import_model(path, "net")
    with pytest.raises(FoundsegError):
        row_of("net")


def test_damaged_descriptions_and_archives_are_named(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "net", described(), Levels())
    path = zipped(folder)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FoundsegError):
        import_model(path)
    bomb = "a: &a [1,1,1,1,1,1,1,1,1]\n"
    for one, other in zip("abcdefg", "bcdefgh", strict=True):
        bomb += f"{other}: &{other} [{', '.join([f'*{one}'] * 9)}]\n"
    for text, words in (("a: [", "not YAML"), ("- 1", "an empty description"), (bomb, "repeat more than")):
        (folder / "rdf.yaml").write_text(text)
        with pytest.raises(CheckpointError, match=words):
            import_model(folder)
    write_package(folder, described(), Levels())
    torch.save({"a": torch.zeros(3)}, folder / "net.pt")
    description = yaml.safe_load((folder / "rdf.yaml").read_text())
    description["weights"]["torchscript"].pop("sha256")
    (folder / "rdf.yaml").write_text(yaml.safe_dump(description))
    with pytest.raises(CheckpointError, match="is not TorchScript, as the package claims"):
        import_model(folder)


def test_what_a_package_says_can_be_said_otherwise_and_wrong_facts_are_named(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "net", described(names=("channel0", "channel1", "channel2")), Levels())
    row = import_model(folder, "net")
    assert "classes: background, class 1" in row.assumed
    row = import_model(folder, "named", facts={"classes": "background, dim, bright", "output": "classes"})
    assert row.classes == ("background", "dim", "bright")
    with pytest.raises(CheckpointError, match="3 classes apart, but 2 are named"):
        import_model(folder, "other", facts={"classes": "background, cell"})
    with pytest.raises(SettingsError, match="input_values"):
        import_model(folder, "other", facts={"input_values": "0 to 1"})
    with pytest.raises(CheckpointError, match="has no output 'mask'; its outputs are maps"):
        import_model(folder, "other", facts={"output_name": "mask"})


def test_an_archive_of_the_folder_is_a_package_too(tmp_path: Path) -> None:
    write_package(tmp_path / "packed" / "net", described(), Levels())
    import_model(zipped(tmp_path / "packed"), "net")
    assert np.array_equal(fs.semantic(image(blocks()), model="net").labels, expected(blocks()))
    # Of two, nobody can tell which is meant.
    write_package(tmp_path / "packed" / "other", described(), Levels())
    with pytest.raises(FoundsegError):
        import_model(zipped(tmp_path / "packed"), "both")


def test_weights_in_a_folder_of_the_package_are_found(tmp_path: Path) -> None:
    description = described()
    folder = write_package(tmp_path / "net", description, Levels())
    (folder / "files").mkdir()
    shutil.move(folder / "net.pt", folder / "files" / "net.pt")
    description["weights"]["torchscript"]["source"] = "files/net.pt"
    (folder / "rdf.yaml").unlink()
    (folder / "bioimageio.yaml").write_text(yaml.safe_dump(description))
    import_model(folder, "net")
    assert np.array_equal(fs.semantic(image(blocks()), model="net").labels, expected(blocks()))
