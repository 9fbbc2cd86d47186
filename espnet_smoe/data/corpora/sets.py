"""Utterances into the sets train, dev and test: no speaker occurs in two sets."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from espnet_smoe.data.corpora.base import TRAIN, VALIDATION, Entry
from espnet_smoe.data.data_dir import (
    LANGUAGES,
    NO_TRANSLATION,
    write_lines,
    write_table,
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
    entries: list[Entry], sizes: Sizes, log: ProblemLog
) -> dict[str, list[Entry]]:
    """Divide utterances into sets, each sorted by id.

    Training gives ``train``; Validation gives ``dev`` and ``test``, or ``test_male``
    and ``test_female`` where it has enough of either. Test sets of a corpus's own
    (``eval_clean``, ``test_fleurs``) stay as they are. An utterance of ``train`` whose
    speaker is in another set is left out.

    Raises:
        ValueError: A set would be empty.
    """
    pool = [entry for entry in entries if entry.split == VALIDATION]
    drawn = _draw(pool, sizes)
    set_of = {entry.id: name for name, chosen in drawn.items() for entry in chosen}
    kept = []
    for entry in entries:
        if entry.split != VALIDATION:
            kept.append(entry)
        elif entry.id in set_of:
            entry.split = set_of[entry.id]
            kept.append(entry)
        else:  # nothing is wrong with it: counted, no line
            log.dropped[entry.corpus, "more Validation than was asked for"] += 1
    sets = by_split(kept, log)
    if not sets.get(TRAIN):
        raise ValueError(
            "no utterance is left for train. Give --aihub the 1.Training parts too, "
            f"and mend what {log.path} lists."
        )
    return sets


def by_split(entries: Iterable[Entry], log: ProblemLog) -> dict[str, list[Entry]]:
    """Utterances by their split, each set sorted by id.

    Those of ``train`` whose speaker is in another set are left out.

    Raises:
        ValueError: There is no utterance.
    """
    sets: dict[str, list[Entry]] = {}
    for entry in entries:
        sets.setdefault(entry.split, []).append(entry)
    if TRAIN in sets:
        sets[TRAIN] = _without_speakers(sets, log)
    sets = {name: sorted(s, key=lambda e: e.id) for name, s in sets.items() if s}
    if not sets:
        raise ValueError(f"no utterance is left; mend what {log.path} lists")
    return sets


def _draw(pool: list[Entry], sizes: Sizes) -> dict[str, list[Entry]]:
    if len(pool) < 2:
        raise ValueError(
            f"{len(pool)} utterances of Validation: too few for dev and test. Give "
            "--aihub the 2.Validation parts too (of KsponSpeech scripts/dev.trn)."
        )
    # By hash, not by position: a corpus added later moves no other into a test set.
    pool = sorted(pool, key=lambda e: _hash(f"{sizes.seed} {e.id}"))
    tests = {
        f"{TEST}_{word}": [e for e in pool if e.gender == sex][: sizes.test]
        for word, sex in (("male", "m"), ("female", "f"))
    }
    enough = all(len(chosen) == sizes.test for chosen in tests.values())
    if not enough or len(pool) <= 2 * sizes.test:
        share = sizes.test / (sizes.test + sizes.dev)
        most = min(max(round(len(pool) * share), 1), len(pool) - 1)
        tests = {TEST: pool[: min(sizes.test, most)]}
    taken = {entry.id for chosen in tests.values() for entry in chosen}
    rest = [entry for entry in pool if entry.id not in taken]
    return {**tests, DEV: rest[: sizes.dev]}


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _without_speakers(sets: dict[str, list[Entry]], log: ProblemLog) -> list[Entry]:
    """The training utterances of speakers that no other set knows."""
    others = {e.speaker for name, s in sets.items() if name != TRAIN for e in s} - {""}
    kept = []
    for entry in sets[TRAIN]:
        if entry.speaker in others:
            reason = "speaker of dev or test in train"
            cause = f"speaker {entry.speaker} is in dev or test too"
            fix = "Nothing to do: left out of train so that the test is honest"
            log.drop(entry.corpus, reason, entry.label, entry.id, cause, fix)
        else:
            kept.append(entry)
    return kept


def write_sets(out: Path, sets: dict[str, list[Entry]]) -> None:
    """Write the data directories; sets that an earlier run made and this not go."""
    made = out / MADE
    earlier = made.read_text(encoding="utf-8").split() if made.is_file() else []
    for name in set(earlier) - set(sets):
        for table in (*TABLES, *WHERE_TOLD, *find_targets(out / name)):
            (out / name / table).unlink(missing_ok=True)
        if (out / name).is_dir() and not os.listdir(out / name):
            (out / name).rmdir()
    write_lines(made, sorted({*earlier, *sets}))
    others = sorted({t for entries in sets.values() for e in entries for t in e.texts})
    for name, entries in sets.items():
        columns = {
            "wav.scp": [entry.reference for entry in entries],
            "text": [entry.text for entry in entries],
            "text_st": [entry.translation or NO_TRANSLATION for entry in entries],
            "utt2bandwidth": [entry.bandwidth for entry in entries],
            "utt2spk": [entry.speaker or entry.id for entry in entries],
        }
        for target in others:
            columns[target] = [e.texts.get(target) or NO_TRANSLATION for e in entries]
        for table, attribute in WHERE_TOLD.items():
            values = [getattr(entry, attribute) for entry in entries]
            if all(values):
                columns[table] = values
            else:
                (out / name / table).unlink(missing_ok=True)
        ids = [entry.id for entry in entries]
        for table, values in columns.items():
            write_table(out / name / table, dict(zip(ids, values)))
    write_lines(made, sorted(sets))
