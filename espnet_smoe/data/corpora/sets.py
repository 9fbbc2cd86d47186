"""Utterances into the sets train, dev and test: no speaker occurs in two sets."""

import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet_smoe.data.corpora.base import TRAIN, VALIDATION, Entry
from espnet_smoe.data.data_dir import (
    LANGUAGES,
    NO_TRANSLATION,
    new_tables,
    write_lines,
)
from espnet_smoe.data.problems import ProblemLog
from espnet_smoe.data.task_table import find_targets

DEV, TEST = "dev", "test"
TABLES = ("wav.scp", "utt2bandwidth", "utt2spk")  # beside the texts
WHERE_TOLD = {LANGUAGES: "language", "utt2condition": "condition"}  # by all entries
MADE = ".sets"  # names of the sets that the last run made


@dataclass(frozen=True)
class Sizes:
    """How many utterances of the Validation parts are drawn.

    Attributes:
        dev: For the set that training validates on.
        test: For ``test``, or for each of ``test_male`` and ``test_female``.
        seed: Same seed, same draw.

    Raises:
        ValueError: A size is below 1.
    """

    dev: int = 1000
    test: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.dev, self.test) < 1:
            raise ValueError("--dev-utterances and --test-utterances: 1 at least.")


def make_sets(
    entries: Iterable[Entry], sizes: Sizes | None, log: ProblemLog
) -> Iterator[Entry]:
    """Give each utterance its set as ``split``, and leave out those of none.

    Training gives ``train``. Validation gives ``dev`` and ``test``, or ``test_male``
    and ``test_female`` where it has enough of either. Test sets of a corpus's own
    (``eval_clean``, ``test_fleurs``) stay as they are. An utterance of ``train`` whose
    speaker is in another set is left out.

    Args:
        entries: Read several times.
        sizes: How much of Validation is drawn; None where the corpus has sets of its
            own.
        log: Receives what is left out.

    Raises:
        ValueError: A set would be empty; when all of them are read.
    """
    drawn = {} if sizes is None else _draw(entries, sizes)

    def set_of(entry: Entry) -> str:
        if sizes is None or entry.split != VALIDATION:
            return entry.split
        return drawn.get(_hash(entry, sizes), "")

    others = {e.speaker for e in entries if set_of(e) not in ("", TRAIN)} - {""}
    names = set()
    for entry in entries:
        name = set_of(entry)
        if not name:  # nothing is wrong with it: counted, no line
            log.dropped[entry.corpus, "more Validation than was asked for"] += 1
        elif name == TRAIN and entry.speaker in others:
            reason = "speaker of dev or test in train"
            cause = f"speaker {entry.speaker} is in dev or test too"
            fix = "Nothing to do: left out of train so that the test is honest"
            log.drop(entry.corpus, reason, entry.label, entry.id, cause, fix)
        else:
            entry.split = name
            names.add(name)
            yield entry
    if sizes is not None and TRAIN not in names:
        raise ValueError(
            "no utterance is left for train. Give --aihub the 1.Training parts too, "
            f"and mend what {log.path} lists."
        )
    if not names:
        raise ValueError(f"no utterance is left; mend what {log.path} lists")


def _draw(entries: Iterable[Entry], sizes: Sizes) -> dict[int, str]:
    """The set of each utterance that is drawn, by its hash."""
    hashes, genders = array("Q"), bytearray()
    for entry in entries:
        if entry.split == VALIDATION:
            hashes.append(_hash(entry, sizes))
            genders.append(ord(entry.gender[:1] or " ") % 256)
    if len(hashes) < 2:
        raise ValueError(
            f"{len(hashes)} utterances of Validation: too few for dev and test. Give "
            "--aihub the 2.Validation parts too (of KsponSpeech scripts/dev.trn)."
        )
    order = np.argsort(np.frombuffer(hashes, np.uint64))
    pool = np.frombuffer(hashes, np.uint64)[order]
    gender = np.frombuffer(genders, np.uint8)[order]
    tests = {
        f"{TEST}_{word}": pool[gender == ord(sex)][: sizes.test]
        for word, sex in (("male", "m"), ("female", "f"))
    }
    enough = all(len(chosen) == sizes.test for chosen in tests.values())
    if not enough or len(pool) <= 2 * sizes.test:
        share = sizes.test / (sizes.test + sizes.dev)
        most = min(max(round(len(pool) * share), 1), len(pool) - 1)
        tests = {TEST: pool[: min(sizes.test, most)]}
    rest = pool[~np.isin(pool, np.concatenate([*tests.values()]))]
    drawn = {**tests, DEV: rest[: sizes.dev]}
    return {int(one): name for name, chosen in drawn.items() for one in chosen}


def _hash(entry: Entry, sizes: Sizes) -> int:
    # By hash, not by position: a corpus added later moves no other into a test set.
    text = f"{sizes.seed} {entry.id}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def write_sets(
    out: Path, entries: Iterable[Entry], targets: Iterable[str] = ()
) -> None:
    """Write the data directories; sets that an earlier run made and this not go.

    Args:
        out: Receives a directory for each set.
        entries: With their set as ``split``, sorted.
        targets: Texts of further tasks.
    """
    made = out / MADE
    earlier = made.read_text(encoding="utf-8").split() if made.is_file() else []
    targets = sorted(targets)
    columns = [*TABLES, "text", "text_st", *targets, *WHERE_TOLD]
    lacking: dict[str, set[str]] = {}
    writers: dict[str, Callable[[str, Mapping[str, object]], None]] = {}
    with ExitStack() as stack:
        for entry in entries:
            name = entry.split
            if name not in writers:
                writers[name] = stack.enter_context(new_tables(out / name, columns))
                lacking[name] = set()
                write_lines(made, sorted({*earlier, *writers}))
            row = _row(entry, targets)
            writers[name](entry.id, row)
            lacking[name].update(table for table in WHERE_TOLD if not row[table])
    for name, tables in lacking.items():
        for table in tables:
            (out / name / table).unlink()
    for name in set(earlier) - set(writers):
        for table in (*TABLES, *WHERE_TOLD, *find_targets(out / name)):
            (out / name / table).unlink(missing_ok=True)
        if (out / name).is_dir() and not os.listdir(out / name):
            (out / name).rmdir()
    write_lines(made, sorted(writers))


def _row(entry: Entry, targets: Iterable[str]) -> dict[str, str]:
    row = {
        "wav.scp": entry.reference,
        "text": entry.text,
        "text_st": entry.translation or NO_TRANSLATION,
        "utt2bandwidth": entry.bandwidth,
        "utt2spk": entry.speaker or entry.id,
    }
    row |= {target: entry.texts.get(target) or NO_TRANSLATION for target in targets}
    return row | {table: getattr(entry, name) for table, name in WHERE_TOLD.items()}
