"""Training from shards: killed, it goes on and ends as one that was not."""

import argparse
import signal
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from espnet2.train.dataset import ESPnetDataset
from espnet2.train.iterable_dataset import IterableESPnetDataset

from espnet_smoe.data.speech.shard import KIND, new_shard
from espnet_smoe.training.shard_batches import Limit
from espnet_smoe.training.shard_iterator import (
    ShardDataset,
    ShardIterFactory,
    build_factory,
    train_from_shards,
)
from espnet_smoe.training.shard_tables import ShardTables
from espnet_smoe.training.step_checkpoint import NAME
from tests.gloo import in_two_processes
from tests.training.test_steps import (
    BATCHES,
    ROWS,
    SEED,
    Speech,
    assert_equal,
    collate,
    new,
    on,
    status_of,
    train,
)

NUMBER = BATCHES * ROWS


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Recordings of four samples each, five to a shard."""
    folder: Path = tmp_path_factory.mktemp("corpus")
    draw = np.random.default_rng(0)
    with open(folder / "wav.scp", "w") as table, open(folder / "shape", "w") as shapes:
        for first in range(0, NUMBER, 5):
            with new_shard(folder / f"{first}.tar") as shard:
                for at in range(first, min(NUMBER, first + 5)):
                    place = shard.add(f"u{at:02}", draw.uniform(-0.9, 0.9, 4))
                    table.write(f"u{at:02} {place}\n")
                    shapes.write(f"u{at:02} 4\n")
    return folder


def from_shards(corpus: Path, notes: Path, processes: int = 1, workers: int = 0):
    def note(utterance: str, data: dict) -> dict:
        with open(notes, "a") as out:
            out.write(f"{utterance}\n")
        return Speech.augment(utterance, data)

    index = ShardTables([corpus / "wav.scp"], [corpus / "shape"])
    read = ShardDataset([("wav.scp", "x", KIND)], note, "float32")
    loader = {"collate_fn": collate, "num_workers": workers}
    limit = Limit(utterances=ROWS // processes)
    return ShardIterFactory(index, limit, read, loader, SEED)


def run(corpus, folder, at=None, workers=0, notes="shards", process=(0, 1)):
    given = {} if at is None else {"at": at}
    shards = from_shards(corpus, folder / notes, process[1], workers)
    train(folder, workers=workers, process=process, train_iter=shards, **given)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_training_from_shards_ends_as_one_that_was_not(
    corpus, workers, tmp_path
):
    unbroken, killed = new(tmp_path / "unbroken"), new(tmp_path / "killed")
    assert status_of(lambda: run(corpus, unbroken, workers=workers)) == 0
    read = (unbroken / "shards").read_text().split()
    assert sorted(read[:NUMBER]) == [f"u{at:02}" for at in range(NUMBER)]
    at = on("train", BATCHES + 6, signal.SIGKILL)
    assert status_of(lambda: run(corpus, killed, at, workers)) == -signal.SIGKILL
    assert torch.load(killed / NAME)["batches"] == 4
    again = {"workers": workers, "notes": "again"}
    assert status_of(lambda: run(corpus, killed, **again)) == 0
    assert_equal(killed, unbroken)
    left = (killed / "again").read_text().split()
    assert len(left) == 2 * NUMBER - 4 * ROWS  # of two epochs
    before = Counter(read[NUMBER:]) - Counter(left)  # workers take turns as they like
    assert before.total() == 4 * ROWS
    if workers == 0:
        assert before == Counter(read[NUMBER:][: 4 * ROWS])


def test_two_processes_read_shards_of_their_own_and_go_on(corpus, tmp_path):
    unbroken, folder = new(tmp_path / "unbroken"), new(tmp_path / "killed")
    meet = [new(tmp_path / f"meet{i}") for i in range(3)]

    def both(number: int, folder: Path, at=None) -> None:
        work = lambda rank: run(  # noqa: E731
            corpus, folder, at, notes=f"read{rank}", process=(rank, 2)
        )
        in_two_processes(meet[number], work)

    both(0, unbroken)
    read = [(unbroken / f"read{rank}").read_text().split() for rank in (0, 1)]
    first = [one[: NUMBER // 2] for one in read]
    assert sorted(sum(first, [])) == [f"u{at:02}" for at in range(NUMBER)]
    with pytest.raises(FileNotFoundError):
        both(1, folder, on("train", BATCHES + 6, signal.SIGKILL))
    both(2, folder)
    assert_equal(folder, unbroken)


def test_a_changed_list_of_shards_is_refused_in_the_middle_of_an_epoch(
    corpus, tmp_path
):
    at = on("train", 4, signal.SIGKILL)
    assert status_of(lambda: run(corpus, tmp_path, at)) == -signal.SIGKILL
    less = new(tmp_path / "less")
    for name in ("wav.scp", "shape"):
        lines = (corpus / name).read_text().splitlines(True)
        (less / name).write_text("".join(lines[5:]))
    with pytest.raises(ValueError, match="minibatches of epoch 1 are others now"):
        run(less, tmp_path)


def test_datasets_of_espnet_read_shards_too(corpus):
    train_from_shards()
    table = [(str(corpus / "wav.scp"), "speech", KIND)]
    keep = {"preprocess": lambda utterance, data: data}
    streamed = dict(IterableESPnetDataset(table, **keep))
    by_name = ESPnetDataset(table, **keep)
    assert len(streamed) == NUMBER
    for utterance, data in streamed.items():
        np.testing.assert_array_equal(by_name[utterance][1]["speech"], data["speech"])
        assert data["speech"].dtype == np.float32 and len(data["speech"]) == 4


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"batch_type": "folded"},
            "'folded' does not go with shards; take",
        ),
        ({"num_iters_per_epoch": 5}, "num_iters_per_epoch: .* leave it out"),
        (
            {"data_path_and_name_and_type": [("wav.scp", "speech", "sound")]},
            "wav.scp comes first and is of type 'sound', not 'shard'.*--audio_format",
        ),
    ],
)
def test_options_that_do_not_go_with_shards_are_named(corpus, given, said):
    usual = {
        "data_path_and_name_and_type": [(str(corpus / "wav.scp"), "speech", KIND)],
        "num_iters_per_epoch": None,
        "batch_type": "numel",
    }
    options = SimpleNamespace(**usual | given)
    with pytest.raises(ValueError, match=said):
        build_factory(object, argparse.Namespace(), options, "train")
