"""The configuration in OpenMMLab's files: Python source, of which only literals and ``dict`` calls are read."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

__all__ = ["read_config_text", "setting"]

#: Longest text in characters. The largest published ones have a tenth of it.
_LONGEST = 400_000


def read_config_text(text: Any) -> dict[str, Any]:
    """Return the values that Python source assigns, by name. Nothing in it is run.

    Values that are not literals are left out. The result is empty if the text is not Python.
    """
    if not isinstance(text, str) or len(text) > _LONGEST:
        return {}
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return {}
    found: dict[str, Any] = {}
    for part in body:
        if isinstance(part, ast.Assign) and len(part.targets) == 1 and isinstance(part.targets[0], ast.Name):
            try:
                found[part.targets[0].id] = _value(part.value)
            except (ValueError, RecursionError):
                continue
    return found


def setting(config: Any, *path: str, default: Any = None) -> Any:
    """Return a value in nested tables, or `default` if there is none.

    A list stands for its first item.
    """
    for name in path:
        config = config[0] if isinstance(config, list) and config else config
        if not isinstance(config, Mapping) or name not in config:
            return default
        config = config[name]
    return config


def _value(part: ast.expr) -> Any:
    if isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id == "dict" and not part.args:
        return {word.arg: _lenient(word.value) for word in part.keywords if word.arg is not None}
    if isinstance(part, ast.Dict):
        keys = [key.value if isinstance(key, ast.Constant) else None for key in part.keys]
        return {str(key): _lenient(value) for key, value in zip(keys, part.values, strict=True) if key is not None}
    if isinstance(part, ast.List | ast.Tuple):
        return [_lenient(one) for one in part.elts]
    return ast.literal_eval(part)


def _lenient(part: ast.expr) -> Any:
    try:
        return _value(part)
    except ValueError:
        return None
