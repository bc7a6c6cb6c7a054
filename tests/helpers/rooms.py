# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Which room of koalagan imports which: rooms are its folders and its top-level modules.

python tests/helpers/rooms.py    # prints the table in Markdown
"""

import ast
from collections.abc import Mapping, Set
from pathlib import Path

ROOT = Path(__file__).parents[2] / "koalagan"
Graph = Mapping[str, Set[str]]


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name; a package has that of its folder."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports() -> dict[str, set[str]]:
    """Module -> the modules of koalagan that it imports, those inside functions included."""
    known = modules()
    return {name: _imported(path, known) - {name} for name, path in known.items()}


def _imported(path: Path, known: Mapping[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            # `from a import b` imports the module a.b, or takes a name from the module a.
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names}
    return found & known.keys()


def room(module: str) -> str:
    """The room of a module; the package's own `__init__` is the room "koalagan"."""
    return (module.split(".") + ["koalagan"])[1]


def rooms() -> dict[str, set[str]]:
    """Room -> the rooms that it imports."""
    found: dict[str, set[str]] = {}
    for module, imported in imports().items():
        mine = room(module)
        found.setdefault(mine, set()).update({room(name) for name in imported} - {mine})
    return found


def cycle(graph: Graph) -> list[str]:
    """A cycle of a graph, its first node repeated at the end; empty if there is none."""
    finished: set[str] = set()

    def search(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in finished:
            return []
        for following in sorted(graph[node]):
            if found := search(following, [*path, node]):
                return found
        finished.add(node)
        return []

    return next((found for node in sorted(graph) if (found := search(node, []))), [])


def table(graph: Graph) -> str:
    """A graph as a Markdown table."""
    lines = ["| room | imports |", "| :--- | :--- |"]
    lines += [f"| {name} | {', '.join(sorted(graph[name])) or '-'} |" for name in sorted(graph)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(rooms()))
