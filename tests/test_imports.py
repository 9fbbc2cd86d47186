"""Imports go one way: between the rooms as CONTRIBUTING.md says, between files at all.

Counted are all imports, also those inside functions and those for type checkers alone.
"""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "espnet_smoe"
USERS_OF_ESPNET = {"espnet_smoe.compat", "espnet_smoe.registry"}

Arrow = tuple[str, str]


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.glob(f"{PACKAGE}/**/*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """Full names of what a file imports, of any package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows() -> set[Arrow]:
    """Module -> module of this package that it imports."""
    found = set()
    for name, path in MODULES.items():
        for target in imported(path):
            # `from a import b` is of the module a.b where there is one, else of a
            module = target if target in MODULES else target.rpartition(".")[0]
            if module in MODULES and module != name:
                found.add((name, module))
    return found


ARROWS = arrows()


def circle(found: set[Arrow]) -> list[str]:
    """Modules that import each other in a circle; empty where none do."""
    graph: dict[str, set[str]] = {}
    for start, end in found:
        graph.setdefault(start, set()).add(end)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def room(module: str) -> str:
    """Folder of a module; the file itself at the top; empty for the package."""
    return module.partition(".")[2].partition(".")[0]


def order() -> dict[str, int]:
    """Room -> its line in CONTRIBUTING.md."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = re.search(r"Imports point one way.*?```text\n(.*?)```", page, re.DOTALL)
    assert block
    lines = block[1].splitlines()
    return {name: i for i, line in enumerate(lines) for name in line.split()}


def test_no_file_imports_itself_through_others():
    assert circle(ARROWS) == []


def test_a_circle_would_be_found():
    assert set(circle({("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")})) == set("abc")


def test_every_room_has_its_line():
    assert set(map(room, MODULES)) - {""} == set(order())


def test_rooms_import_only_rooms_of_lines_above():
    lines = order()
    wrong = [
        f"{start} imports {end}"
        for start, end in sorted(ARROWS)
        if room(start)
        and room(end) != room(start)
        # the package itself is for users: ours import registry or version
        and (not room(end) or lines[room(end)] >= lines[room(start)])
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["espnet", "espnet2"])
def test_only_compat_and_registry_import_espnet(package):
    users = {
        name
        for name, path in MODULES.items()
        for target in imported(path)
        if target.split(".")[0] == package
    }
    assert users <= USERS_OF_ESPNET


def test_espnet_is_imported_by_no_name_in_a_string():
    code = r"(import_module|__import__|find_spec)\(\s*f?[\"']espnet2?\b"
    users = {name for name, p in MODULES.items() if re.search(code, p.read_text())}
    assert users <= USERS_OF_ESPNET


def test_yaml_is_read_in_one_place():
    readers = {
        name
        for name, path in MODULES.items()
        if re.search(r"yaml\.(safe_|full_|unsafe_)?load\(", path.read_text())
    }
    assert readers == {"espnet_smoe.config.yaml_file"}
