"""Find import circles and folders that hold too many modules: `python .ci/check_structure.py`.

An import of a name from a package counts as an import of the module that holds it, if it is one. Imports under
`if TYPE_CHECKING:` are looked at too: a circle that needs one is reported as one of types alone.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(__file__).resolve().parents[1] / "src"
MOST_MODULES = 20


def module_name(path: Path, sources: Path) -> str:
    """`napari_foundseg.core.masks` for the path of that module."""
    parts = path.relative_to(sources).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.AST) -> bool:
    """Whether a node is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def find_imports(node: ast.AST, *, for_types: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield every dotted name that a module imports, and whether for type checking only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, for_types) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield from ((f"{child.module}.{alias.name}", for_types) for alias in child.names)
        elif isinstance(child, ast.If) and is_type_checking(child):
            for inner in child.body:
                yield from find_imports(ast.Module([inner], []), for_types=True)
            for inner in child.orelse:
                yield from find_imports(ast.Module([inner], []), for_types=for_types)
        else:
            yield from find_imports(child, for_types=for_types)


def read_graph(sources: Path) -> dict[str, dict[str, bool]]:
    """Return, per module, the modules of the same sources that it imports, and whether for types alone."""
    paths = {module_name(path, sources): path for path in sorted(sources.rglob("*.py"))}
    graph: dict[str, dict[str, bool]] = {}
    for module, path in paths.items():
        found: dict[str, bool] = {}
        for name, for_types in find_imports(ast.parse(path.read_text(encoding="utf-8"))):
            target = name if name in paths else name.rpartition(".")[0]
            if target in paths and target != module:
                found[target] = found.get(target, True) and for_types
        graph[module] = found
    return graph


def find_circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one module (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = lowest[module] = len(index)
        stack.append(module)
        for target in sorted(graph[module]):
            if target not in index:
                visit(target)
                lowest[module] = min(lowest[module], lowest[target])
            elif target in stack:
                lowest[module] = min(lowest[module], index[target])
        if lowest[module] == index[module]:
            at = stack.index(module)
            circle = stack[at:]
            del stack[at:]
            if len(circle) > 1:
                circles.append(sorted(circle))

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return circles


def find_crowded_folders(sources: Path, most: int = MOST_MODULES) -> list[tuple[Path, int]]:
    """Return the folders that hold more than `most` modules, `__init__` not among them."""
    folders = sorted({path.parent for path in sources.rglob("*.py")})
    counts = ((folder, sum(path.stem != "__init__" for path in folder.glob("*.py"))) for folder in folders)
    return [(folder, count) for folder, count in counts if count > most]


def main(sources: Path = SOURCES) -> int:
    """Print what is wrong; return 1 if anything is."""
    graph = read_graph(sources)
    at_run_time = {module: {name for name, types in found.items() if not types} for module, found in graph.items()}
    problems = [f"import circle: {', '.join(circle)}" for circle in find_circles(at_run_time)]
    if not problems:
        with_types = find_circles({module: set(found) for module, found in graph.items()})
        problems = [f"import circle (with type imports): {', '.join(circle)}" for circle in with_types]
    for folder, count in find_crowded_folders(sources):
        problems.append(f"{folder.relative_to(sources)} holds {count} modules; at most {MOST_MODULES} are allowed")
    sys.stdout.write("".join(f"{problem}\n" for problem in problems))
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
