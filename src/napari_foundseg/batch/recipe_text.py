"""Recipes as text: YAML that says what is wrong where, and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from napari_foundseg.core.errors import RecipeError
from napari_foundseg.io.atomic import atomic_write

__all__ = ["parse_text", "write_text"]

_YAML, _JSON = (".yaml", ".yml"), (".json",)
#: A recipe with painted masks has a few megabytes.
_LARGEST = 64 << 20


class _Loader(yaml.SafeLoader):
    """YAML without its traps: a field twice is an error, and nothing refers to another place."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "references (*name) are not read", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, (key, _) in enumerate(node.value):
            if keys[i] in keys[:i]:
                raise yaml.constructor.ConstructorError(None, None, f"{keys[i]!r} stands here twice", key.start_mark)
        return super().construct_mapping(node, deep)


def parse_text(path: Path) -> Any:
    """Read a file of fields and values.

    Parameters
    ----------
    path : Path
        Its extension says whether it is YAML or JSON.

    Returns
    -------
    object
        What it holds.

    Raises
    ------
    RecipeError
        If it cannot be read, or is neither; with the line where it breaks.
    """
    known = path.suffix.lower()
    if known not in _YAML + _JSON:
        raise RecipeError(f"{str(path)!r} is no recipe: recipes end in {', '.join(_YAML + _JSON)}.")
    try:
        if path.exists() and not path.is_file():
            raise RecipeError(f"{str(path)!r} is no file; give the name of a recipe.")
        if path.stat().st_size > _LARGEST:
            raise RecipeError(f"{str(path)!r} is no recipe: it is larger than {_LARGEST >> 20} MB.")
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text) if known in _JSON else yaml.load(text, _Loader)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RecipeError(f"{str(path)!r} cannot be read: {reason}.") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{str(path)!r} is no YAML: {_where(error)}.") from error


def write_text(path: Path, content: Any) -> None:
    """Write fields and values.

    Parameters
    ----------
    path : Path
        Its extension says whether as YAML or as JSON.
    content : object
        Plain values.

    Raises
    ------
    RecipeError
        If the extension is another.
    OutputError
        If it cannot be written.
    """
    known = path.suffix.lower()
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        shown = error.object[max(0, error.start - 30) : error.end + 10]
        raise RecipeError(f"{str(path)!r} cannot hold a name that is no text ({shown!r}): rename that file.") from error
    if known in _YAML:
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)
    elif known in _JSON:
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    else:
        raise RecipeError(f"{str(path)!r}: a recipe is saved as {', '.join(_YAML + _JSON)}.")
    with atomic_write(path) as file:
        file.write(text.encode())


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {what}" if mark is not None else what
