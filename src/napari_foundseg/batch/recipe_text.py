"""Reading and writing the text of recipes, YAML or JSON; errors name the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from napari_foundseg.core.errors import KeptError, RecipeError
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.files.json_file import parse_json

__all__ = ["chosen_path", "parse_text", "write_text"]

_YAML = (".yaml", ".yml")
_JSON = (".json",)
#: In bytes: a recipe with painted masks has a few megabytes.
_LARGEST = 64 << 20


class _Loader(yaml.SafeLoader):
    """A YAML loader that refuses duplicate fields and references."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "references (*name) are not read", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, (key, _) in enumerate(node.value):
            if keys[i] in keys[:i]:
                raise yaml.constructor.ConstructorError(None, None, f"{keys[i]!r} appears twice", key.start_mark)
        return super().construct_mapping(node, deep)


def parse_text(path: Path) -> Any:
    """Read a YAML or JSON file; raise a RecipeError that says where it is wrong."""
    known = path.suffix.lower()
    if known not in _YAML + _JSON:
        raise RecipeError(f"{str(path)!r} is not a recipe: expected a file that ends in {', '.join(_YAML + _JSON)}.")
    try:
        if path.exists() and not path.is_file():
            raise RecipeError(f"{str(path)!r} is not a file. Give the name of a recipe.")
        if path.stat().st_size > _LARGEST:
            raise RecipeError(f"{str(path)!r} is not a recipe: it is larger than {_LARGEST >> 20} MB.")
        text = path.read_text(encoding="utf-8-sig")
        return parse_json(text) if known in _JSON else yaml.load(text, _Loader)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RecipeError(f"{str(path)!r} cannot be read: {reason}.") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{str(path)!r} is not valid YAML: {_where(error)}.") from error


def chosen_path(chosen: str) -> Path:
    """Return the recipe's path for a name from a Save dialog; a name without ending gets ``.yaml``.

    Raises a KeptError if a file with the completed name exists, since the dialog has not asked about it.
    """
    path = Path(chosen).absolute()
    if path.suffix:
        return path
    path = path.with_name(f"{path.name}{_YAML[0]}")
    if path.exists():
        raise KeptError(f"{str(path)!r} was kept: it exists already. Choose it in the dialog, or give another name.")
    return path


def write_text(path: Path, content: Any) -> None:
    """Write fields and values as YAML or JSON, depending on the ending."""
    known = path.suffix.lower()
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        shown = error.object[max(0, error.start - 30) : error.end + 10]
        raise RecipeError(
            f"{str(path)!r} cannot contain a name that is not text ({shown!r}). Rename that file."
        ) from error
    if known in _YAML:
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)
    elif known in _JSON:
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    else:
        raise RecipeError(f"{str(path)!r}: the name of a recipe must end in {', '.join(_YAML + _JSON)}.")
    with atomic_write(path) as file:
        file.write(text.encode())


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {what}" if mark is not None else what
