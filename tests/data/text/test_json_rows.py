"""Rows of a JSON file come as `json` reads them, one at a time."""

import io
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_smoe.data.text import json_rows
from espnet_smoe.data.text.json_rows import Damaged, NoRows, read_rows

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
ROWS = st.lists(st.dictionaries(st.text(), VALUES))
WORDS = ("[", "]", "{", "}", ",", ":", '"data"', '"a"', "1", "2.5e3", " ", "\n", "true")


def rows_of(text, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "BLOCK", block)
        return list(read_rows(io.StringIO(text)))


@given(ROWS, st.integers(1, 9), st.sampled_from([None, 1]), st.booleans())
def test_rows_are_those_of_json(rows, block, indent, wrapped):
    content = {"info": [{}], "data": rows, "more": 1} if wrapped else rows
    assert rows_of(json.dumps(content, indent=indent), block) == rows


@given(st.lists(st.sampled_from(WORDS)).map("".join), st.integers(1, 3))
def test_what_json_refuses_is_refused(text, block):
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    rows = content.get("data") if isinstance(content, dict) else content
    good = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    try:
        found = rows_of(text, block)
    except (Damaged, NoRows):
        assert not good
    else:
        assert found == rows or text.count('"data"') > 1


def test_damage_is_named_with_its_place():
    text = '[{"a": 1}, {"a": 2}' + " " * 10 + "; "
    with pytest.raises(Damaged, match="Expecting ',': char 29"):
        rows_of(text, 2)


def test_a_file_of_many_rows_needs_the_memory_of_one():
    text = io.StringIO(json.dumps([{"ko": f"가 {n}", "en": "a"} for n in range(20000)]))
    tracemalloc.start()
    assert sum(1 for _ in read_rows(text)) == 20000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
