"""Tables side by side: in any order, of any size."""

import itertools
import os
import tracemalloc

import pytest

from espnet_smoe.data import sorted_file
from espnet_smoe.data.data_dir import WAV_SCP, find_tables, write_table
from espnet_smoe.data.filter import TABLES, Limits, filter_directory
from espnet_smoe.data.parallel import map_unknown
from espnet_smoe.data.sorted_file import Record, sort_records
from espnet_smoe.data.sorted_rows import sorted_rows

ORDERS = [
    ("abc", "abc"),
    ("abc", "cab"),
    ("bca", "acb"),
    (["한", "a", "가", "a-b", "a b".replace(" ", "\u3164")],) * 2,
]


def rows_of(folder):
    with sorted_rows(find_tables(folder), folder / "scratch") as rows:
        return list(rows)


@pytest.mark.parametrize("recordings, texts", ORDERS)
def test_tables_of_any_order_are_joined_and_sorted(tmp_path, recordings, texts):
    write_table(tmp_path / "wav.scp", {u: f"/wavs/{u}.wav" for u in recordings})
    write_table(tmp_path / "text", {u: f"says  {u}" for u in texts})
    rows = rows_of(tmp_path)
    assert [row.id for row in rows] == sorted(recordings)
    for row in rows:
        assert not row.problems
        wanted = {WAV_SCP: f"/wavs/{row.id}.wav", "text": f"says {row.id}"}
        assert row.values == wanted
    assert not list((tmp_path / "scratch").iterdir())


def test_a_line_that_comes_twice_far_apart_is_named_with_its_place(tmp_path):
    write_table(tmp_path / "wav.scp", {"a": "a.wav", "b": "b.wav"})
    (tmp_path / "text").write_text("b first\na x\nb second\n")
    a, b = rows_of(tmp_path)
    assert b.values["text"] == "first" and not a.problems
    [problem] = b.problems
    assert problem.file.endswith("text:3") and problem.cause == "the id is used twice"


def test_segments_of_unsorted_recordings_find_theirs(tmp_path):
    (tmp_path / "wav.scp").write_text("z z.wav\nr r.wav\n")
    (tmp_path / "segments").write_text("u2 z 0 1\nu1 r 0 1\nu0 z 1 -1\n")
    write_table(tmp_path / "text", dict.fromkeys(["u0", "u1", "u2"], "x"))
    found = {row.id: row.values[WAV_SCP] for row in rows_of(tmp_path)}
    wanted = {"u0": "z.wav#1.000-", "u1": "r.wav#0.000-1.000"}
    assert found == wanted | {"u2": "z.wav#0.000-1.000"}


def test_a_sort_that_fails_half_way_is_told(tmp_path, monkeypatch):
    sort = tmp_path / "bin" / "sort"
    sort.parent.mkdir()
    sort.write_text("#!/bin/sh\nexec <&-\nexit 2\n")  # as on a full disk
    sort.chmod(0o755)
    monkeypatch.setenv("PATH", str(sort.parent), prepend=os.pathsep)
    monkeypatch.setattr(sorted_file, "IN_MEMORY", 0)
    for name in ("wav.scp", "text"):
        write_table(tmp_path / name, {f"u{-at}": "a" for at in range(9999)})
    with pytest.raises(OSError, match="cannot be sorted; is the disk full"):
        rows_of(tmp_path)


def test_a_pipe_that_breaks_while_records_are_made_is_no_fault_of_sort(tmp_path):
    def broken():
        yield Record("a", "", "")
        raise BrokenPipeError  # such as a message to a program that has gone

    with pytest.raises(BrokenPipeError):
        sort_records(broken(), tmp_path)


def test_a_table_needs_no_memory_for_its_lines(tmp_path):
    """Of 8,000 utterances; their tables alone would be 8 MB as dictionaries."""
    number = 8000
    ids = [f"utterance-{at:06}" for at in range(number)]
    values = dict.fromkeys(TABLES, "a text of some words")
    values["utt2num_samples"] = "16000"
    for name, value in values.items():
        write_table(tmp_path / "in" / name, dict.fromkeys(ids, value))
    filter_directory(tmp_path / "in", tmp_path / "out", Limits())  # what is imported
    tracemalloc.start()
    filter_directory(tmp_path / "in", tmp_path / "out", Limits())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_jobs_are_taken_as_they_are_needed():
    endless = ((number, None) for number in itertools.count())
    done = map_unknown(abs, endless, nj=2)
    assert [next(done) for _ in range(40)] == [(n, n) for n in range(40)]
    done.close()
