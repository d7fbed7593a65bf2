"""BERT's vocabulary (``vocab.txt``), for networks whose files hold only the numbers of its words."""

from __future__ import annotations

from pathlib import Path

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.files.small_text import read_small_text

__all__ = ["find_vocabulary", "read_vocabulary"]

_FILE = "vocab.txt"
#: Folder of the model that has this vocabulary; it may be next to the weights.
_FOLDER = "bert-base-uncased"
_HUB = "google-bert/bert-base-uncased"
_SIGNS = ("[UNK]", "[CLS]", "[SEP]")


def find_vocabulary(path: Path, title: str) -> Path:
    """Return the path of the vocabulary, in the folder of the weights or in its subfolder ``bert-base-uncased``.

    Raises CheckpointError if there is none. The message says what to get and where to put it.
    """
    folder = path if path.is_dir() else path.parent
    for place in (folder / _FILE, folder / _FOLDER / _FILE):
        if place.is_file():
            return place
    raise CheckpointError(
        f"{title} reads words as BERT does, and {path.name} does not hold BERT's vocabulary. Get {_FILE} of {_FOLDER} "
        f"(https://huggingface.co/{_HUB}/resolve/main/{_FILE}, or: hf download {_HUB} {_FILE} --local-dir {folder}), "
        f"put it at {folder / _FILE}, and import the weights again."
    )


def read_vocabulary(path: Path, count: int, title: str) -> dict[str, int]:
    """Return the number of each word.

    Raises CheckpointError unless there are exactly `count` words, as in the network.
    """
    try:
        # Not `splitlines`: a word may be a character that it takes for the end of a line.
        lines = [line.rstrip("\r") for line in read_small_text(path).removesuffix("\n").split("\n")]
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as a list of words ({error}). Get it again.") from error
    words = {word: number for number, word in enumerate(lines)}
    if len(words) != count or len(lines) != count or not all(sign in words for sign in _SIGNS):
        lacking = [sign for sign in _SIGNS if sign not in words]
        found = f"{len(words)} words" + (f" without {', '.join(lacking)}" if lacking else "")
        raise CheckpointError(
            f"{path} has {found}, and the {title} beside it knows {count}: it is the vocabulary of another model, or "
            f"was changed. Get {_FILE} of {_FOLDER} (https://huggingface.co/{_HUB}/resolve/main/{_FILE})."
        )
    return words
