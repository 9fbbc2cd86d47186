"""Minibatches of shards: each utterance once, by the seed, resumed without reading."""

from pathlib import Path

import numpy as np
import pytest

from espnet_smoe.data.speech.shard import new_shard
from espnet_smoe.training.shard_batches import BUCKET, Limit, ShardBatches
from espnet_smoe.training.shard_tables import ShardTables

NUMBER, SHARD = 97, 10
LIMIT = Limit(elements=3000)


def write_set(folder: Path, number: int = NUMBER, size: int = SHARD) -> list[Path]:
    """Utterances of 100 to 400 samples in shards; returns wav.scp, text, shapes."""
    draw = np.random.default_rng(number)
    tables = {name: open(folder / name, "w") for name in ("wav.scp", "text", "shape")}
    for first in range(0, number, size):
        with new_shard(folder / f"{first:03}.tar") as shard:
            for at in range(first, min(number, first + size)):
                wave = draw.uniform(-0.5, 0.5, draw.integers(100, 400))
                name = f"u{at:03}"
                tables["wav.scp"].write(f"{name} {shard.add(name, wave)}\n")
                tables["text"].write(f"{name} 말  {at}\n")
                tables["shape"].write(f"{name} {len(wave)},1\n")
    for table in tables.values():
        table.close()
    return [folder / name for name in tables]


@pytest.fixture
def tables(tmp_path) -> ShardTables:
    *tables, shape = write_set(tmp_path)
    return ShardTables(tables, [shape])


def batches(tables, epoch=1, seed=0, process=(0, 1), limit=LIMIT, window=32):
    return ShardBatches(tables, limit, seed, epoch, process, window)


def ids(found):
    return [[row.id for row in batch] for batch in found]


def test_rows_are_those_of_the_tables_from_anywhere(tables):
    for first, last in [(0, 97), (3, 4), (9, 11), (10, 20), (95, 97)]:
        for at, row in enumerate(tables.read(first, last), first):
            assert row.id == f"u{at:03}" and row.values[1] == f"말  {at}"


@pytest.mark.parametrize("processes", [1, 2, 3, 8, 97])
@pytest.mark.parametrize("limit", [LIMIT, Limit(utterances=4), Limit(elements=1)])
def test_each_utterance_comes_once_and_all_processes_have_as_many_batches(
    tables, processes, limit
):
    ranks = [
        batches(tables, process=(rank, processes), limit=limit)
        for rank in range(processes)
    ]
    found = [ids(one) for one in ranks]
    assert len({len(one) for one in found}) == 1
    assert [len(one) for one in ranks] == [len(one) for one in found]
    assert all(batch for one in found for batch in one)
    assert sorted(u for one in found for batch in one for u in batch) == [
        f"u{at:03}" for at in range(NUMBER)
    ]


def test_a_process_reads_few_shards_that_others_read(tables):
    ranks = [batches(tables, process=(rank, 3)) for rank in range(3)]
    shards = [
        {row.values[0].split(":")[0] for batch in one for row in batch} for one in ranks
    ]
    assert sum(map(len, shards)) <= len(tables.shards) - 1 + 2  # at two borders


def test_minibatches_are_full_and_of_utterances_about_as_long(tables):
    lengths = dict(zip((f"u{at:03}" for at in range(NUMBER)), tables.lengths))
    found = ids(batches(tables, window=NUMBER))
    sizes = [len(batch) * max(lengths[u] for u in batch) for batch in found]
    assert max(sizes) <= LIMIT.elements
    assert np.mean(sizes) > 0.75 * LIMIT.elements
    assert sum(map(len, found)) / len(found) > 8
    padded = sum(sizes) / sum(lengths.values())
    assert padded < BUCKET**2


def test_the_order_is_of_the_seed_and_the_epoch_alone(tables):
    first = ids(batches(tables))
    assert ids(batches(tables)) == first
    others = [batches(tables, epoch=2), batches(tables, seed=1)]
    assert all(ids(one) != first for one in others)
    prints = {one.fingerprint for one in [*others, batches(tables)]}
    assert len(prints) == 3


def test_an_epoch_goes_on_in_its_middle_without_reading_what_is_done(
    tables, monkeypatch
):
    whole = ids(batches(tables, process=(1, 2), window=16))
    read = []
    real = tables.read
    monkeypatch.setattr(tables, "read", lambda *at: (read.append(at), real(*at))[1])
    for done in (1, 5, len(whole) - 1, len(whole)):
        read.clear()
        rest = batches(tables, process=(1, 2), window=16)
        rest.skip(done)
        assert len(rest) == len(whole) - done
        assert ids(rest) == whole[done:]
    assert read == []  # nothing was left


def test_a_mixture_of_two_sets_in_shards_is_read_once_too(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        write_set(folder)
    for name in ("wav.scp", "text", "shape"):
        both = [(folder / name).read_text().splitlines(True) for folder in folders]
        mixed = [pair[at % 7 == 0] for at, pair in enumerate(zip(*both))]
        (tmp_path / name).write_text("".join(mixed))
    tables = ShardTables(
        [tmp_path / "wav.scp", tmp_path / "text"], [tmp_path / "shape"]
    )
    assert len(tables.shards) - 1 == 20
    found = sorted(u for batch in ids(batches(tables)) for u in batch)
    assert found == [f"u{at:03}" for at in range(NUMBER)]


def changed_name(folder):
    path = folder / "text"
    path.write_text(path.read_text().replace("u050", "v050"))
    return r"text:51 is of 'v050', where .*wav.scp has 'u050'.*--stage 4"


def cut_table(folder):
    path = folder / "shape"
    path.write_text("".join(path.read_text().splitlines(True)[:50]))
    return "wav.scp has more lines than the others"


def one_line_more(folder):
    with open(folder / "wav.scp", "a") as table:
        table.write("u097 none.tar:512\n")
    return "wav.scp has more lines than the others"


def rearrange(folder, order):
    for name in ("wav.scp", "text", "shape"):
        lines = (folder / name).read_text().splitlines(True)
        (folder / name).write_text("".join(order(lines)))


def listed_twice(folder):
    rearrange(folder, lambda lines: [*lines[:3], *lines[2:]])
    return "wav.scp:4: 'u002' comes behind 'u002': not sorted, or listed twice.*stage 4"


def not_sorted(folder):
    rearrange(folder, lambda lines: [lines[-1], *lines[:-1]])
    return "wav.scp:2: 'u000' comes behind 'u096': not sorted"


def without_shape(folder):
    rearrange(folder, lambda lines: lines[:-1])
    for name, value in (("wav.scp", "none.tar:512"), ("text", ""), ("shape", "")):
        with open(folder / name, "a") as table:
            table.write(f"u096 {value}\n")
    return "shape:97: '' is no shape such as 16000"


def no_shards(folder):
    (folder / "wav.scp").write_text("u000 a.wav\n")
    return "'a.wav' is no SHARD.tar:OFFSET.*stage 3"


def empty(folder):
    for name in ("wav.scp", "text", "shape"):
        (folder / name).write_text("")
    return "wav.scp is empty"


FAULTS = [
    *(changed_name, cut_table, one_line_more, listed_twice, not_sorted),
    *(without_shape, no_shards, empty),
]


@pytest.mark.parametrize("spoil", FAULTS)
def test_tables_that_do_not_agree_are_named(tmp_path, spoil):
    *tables, shape = write_set(tmp_path)
    said = spoil(tmp_path)
    with pytest.raises(ValueError, match=said):
        ShardTables(tables, [shape])


@pytest.mark.parametrize(
    ("names", "kept", "said"),
    [
        (["text"], [*range(3), *range(5, 20)], "text:11 is of '.*', where .*wav.scp"),
        (["wav.scp", "text"], range(11), "wav.scp is shorter than it was"),
    ],
)
def test_tables_that_change_meanwhile_give_no_text_to_another_recording(
    tmp_path, names, kept, said
):
    *paths, shape = write_set(tmp_path)
    tables = ShardTables(paths, [shape])
    for name in names:  # as a second stage 4 would, with other limits
        lines = (tmp_path / name).read_text().splitlines(True)
        (tmp_path / name).write_text("".join(lines[at] for at in kept))
    with pytest.raises(ValueError, match=said):
        list(tables.read(10, 14))


def test_more_processes_than_utterances_are_refused(tables):
    with pytest.raises(ValueError, match="97 utterances for 98 processes"):
        batches(tables, process=(0, 98))
