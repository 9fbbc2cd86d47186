"""Lines on the disk are found, and come back, as if they were in memory."""

from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.data import sorted_file
from espnet_smoe.data.sorted_file import (
    Listed,
    Lookup,
    Record,
    read_sorted,
    sort_records,
)

NAMES = ["a", "ab", "a\tb", "a\nb", "가", "가나", '"', "\\", "", "\ud800", "z"]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.text(max_size=99))))
@settings(max_examples=30, deadline=None)
def test_a_lookup_finds_what_a_dictionary_of_lists_has(pairs):
    wanted = defaultdict(list)
    for key, value in pairs:
        wanted[key].append(value)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_file, "BLOCK", 64)
        table = Lookup(pairs, Path(folder))
        assert {key: list(values) for key, values in table.groups()} == wanted
        for name in NAMES:
            assert list(table.find(name)) == wanted[name]


@pytest.mark.parametrize("in_memory", [0, 20, 1000])
def test_few_lines_are_in_the_order_of_many(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(sorted_file, "IN_MEMORY", in_memory)
    keys = ["b", "a-b", "ab", "a", "가", "b", "\udcff", "B", "a b", "", "ab"]
    records = [Record(key, "f:1", f"{at}\t", "no") for at, key in enumerate(keys)]
    wanted = sorted(records, key=lambda r: r.key.encode("utf-8", "surrogateescape"))
    assert list(read_sorted(sort_records(records, tmp_path))) == wanted


def test_what_is_listed_comes_back_as_often_as_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(sorted_file, "IN_MEMORY", 8)
    listed = Listed(tmp_path)
    for value in ("a\nb", ["\udc80", 1], "c"):
        listed.append(value)
    assert len(listed) == 3
    assert list(listed) == list(listed) == ["a\nb", ["\udc80", 1], "c"]
