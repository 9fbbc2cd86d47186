"""Imports within data/ go one way: texts, speech, preparation, corpora."""

import ast
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "espnet_smoe" / "data"
MAY_NOT = {
    "text": ("speech", "corpora", "check", "prepare", "filter", "preprocessor"),
    "speech": ("corpora", "prepare", "filter", "preprocessor"),
    "": ("corpora",),
}


@pytest.mark.parametrize("room", MAY_NOT)
def test_a_room_imports_nothing_of_those_above_it(room):
    wrong = []
    for path in (DATA / room).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}." for alias in node.names]
                starts = tuple(f"espnet_smoe.data.{part}." for part in MAY_NOT[room])
                wrong += [
                    (path.name, name) for name in names if name.startswith(starts)
                ]
    assert wrong == []
