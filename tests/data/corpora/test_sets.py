"""Sets: drawn by seed, no speaker in two worlds, nothing measured twice."""

import tracemalloc
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.data.corpora import measure
from espnet_smoe.data.corpora.__main__ import main
from espnet_smoe.data.corpora.base import TRAIN as TRAIN_SPLIT
from espnet_smoe.data.corpora.base import VALIDATION as VALIDATION_SPLIT
from espnet_smoe.data.corpora.base import Entry
from espnet_smoe.data.corpora.sets import Sizes, make_sets, write_sets
from espnet_smoe.data.corpora.write import write_corpus
from espnet_smoe.data.data_dir import read_table
from espnet_smoe.data.problems import ProblemLog
from tests.data.corpora import trees
from tests.data.corpora.test_kinds import (
    SETS,
    TRAIN,
    VALIDATION,
    problems,
    run,
    speech,
    tables,
)


def entry(number, split, speaker="", gender=""):
    name = f"u{number:04d}"
    return Entry(name, name, "c", split, "a", "b", speaker=speaker, gender=gender)


def divide(tmp_path, entries, sizes):
    with ProblemLog(tmp_path / "problems.tsv") as log:
        sets = defaultdict(set)
        for one in make_sets(entries, sizes, log):
            sets[one.split].add(one.id)
    return sets, log


def pool(count, first=0, genders="mf"):
    return [
        entry(first + i, VALIDATION_SPLIT, f"s{i % 7}", genders[i % len(genders)])
        for i in range(count)
    ]


def test_draw_follows_the_seed_and_no_other_utterance(tmp_path):
    train = [entry(9000, TRAIN_SPLIT)]
    sizes = Sizes(dev=20, test=10, seed=1)
    sets, _ = divide(tmp_path, pool(60) + train, sizes)
    again, _ = divide(tmp_path, train + pool(60)[::-1], sizes)
    assert again == sets
    other, _ = divide(tmp_path, pool(60) + train, Sizes(20, 10, seed=2))
    assert other["test_male"] != sets["test_male"]
    # thinning the corpus leaves the drawn ones that are still there in their sets
    fewer, _ = divide(tmp_path, pool(60)[:50] + train, sizes)
    kept = {e.id for e in pool(60)[:50]}
    assert sets["test_male"] & kept <= fewer["test_male"]


@pytest.mark.parametrize(
    ("genders", "names"),
    [
        ("mf", {"test_male", "test_female"}),
        (["", "m"], {"test"}),
        (["m"], {"test"}),
        ([""], {"test"}),
    ],
)
def test_tests_are_by_gender_where_there_is_enough_of_both(tmp_path, genders, names):
    entries = pool(60, genders=genders) + [entry(9000, TRAIN_SPLIT)]
    sets, log = divide(tmp_path, entries, Sizes(dev=20, test=10))
    assert set(sets) == {"train", "dev", *names}
    assert len(sets["dev"]) == 20
    assert all(len(sets[name]) == 10 for name in names)
    drawn = 20 + 10 * len(names)
    assert log.dropped["c", "more Validation than was asked for"] == 60 - drawn


@settings(max_examples=40)
@given(st.integers(2, 40), st.integers(1, 30), st.integers(1, 30))
def test_small_validation_is_shared_and_no_utterance_is_in_two_sets(count, dev, test):
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        entries = pool(count) + [entry(9000, TRAIN_SPLIT)]
        sets, log = divide(Path(folder), entries, Sizes(dev, test))
    assert all(sets.values())
    assert len(sets["dev"]) <= dev
    sizes = sum(map(len, sets.values()))
    assert len(set().union(*sets.values())) == sizes
    assert sizes + sum(log.dropped.values()) == len(entries)


def test_speaker_of_a_test_set_is_not_trained_on_and_that_is_counted(tmp_path):
    train = [entry(9000 + i, TRAIN_SPLIT, f"s{i}") for i in range(10)]
    train += [entry(9900, TRAIN_SPLIT), entry(9901, TRAIN_SPLIT, "own")]
    train += [entry(9902, "eval_clean", "own")]
    sets, log = divide(tmp_path, pool(60) + train, Sizes(dev=40, test=20))
    assert sets["train"] == {"u9007", "u9008", "u9009", "u9900"}
    assert log.dropped["c", "speaker of dev or test in train"] == 8


def test_no_validation_and_no_training_are_errors(tmp_path):
    with pytest.raises(ValueError, match="2.Validation"):
        divide(tmp_path, [entry(0, TRAIN_SPLIT)], Sizes())
    with pytest.raises(ValueError, match="1.Training"):
        divide(tmp_path, pool(10), Sizes())


def test_sets_of_an_earlier_run_do_not_stay(tmp_path):
    trees.utterance_json(tmp_path / "aihub", TRAIN, VALIDATION)
    out = run(tmp_path, *SETS)
    assert (out / "test_male/wav.scp").is_file()
    run(tmp_path, "--test-utterances", "3", "--dev-utterances", "1")
    assert not (out / "test_male").exists()
    names = (out / ".sets").read_text(encoding="utf-8").split()
    assert names == ["dev", "test", "train"]
    assert not list(out.rglob("*.part"))


def spy(monkeypatch):
    read = []
    real = measure.read_audio

    def read_audio(reference):
        read.append(Path(reference.partition("#")[0]).name)
        return real(reference)

    monkeypatch.setattr(measure, "read_audio", read_audio)
    return read


def test_stopped_stage_measures_only_what_is_left(tmp_path, monkeypatch):
    trees.utterance_json(tmp_path / "aihub", TRAIN, VALIDATION)
    read = spy(monkeypatch)
    real = measure.detect_bandwidth
    calls = []

    def stops(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(measure, "detect_bandwidth", stops)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, *SETS)
    done, read[:] = read[:3], []
    notes = tmp_path / "data/.measured.jsonl"
    notes.write_text(notes.read_text(encoding="utf-8") + '["half a li', "utf-8")
    out = run(tmp_path, *SETS)
    assert len(read) == len(TRAIN) + len(VALIDATION) - 3
    assert not set(read) & set(done)
    read.clear()
    first = tables(out, "train")
    assert tables(run(tmp_path, *SETS), "train") == first
    assert read == []


def test_recording_that_changed_is_measured_again(tmp_path, monkeypatch):
    corpus = trees.utterance_json(tmp_path / "aihub", TRAIN, VALIDATION)
    run(tmp_path, *SETS)
    read = spy(monkeypatch)
    path = next(corpus.rglob("train_0002.wav"))
    trees.write_audio(path, speech(1, 77)[0].wave)
    run(tmp_path, *SETS)
    assert read == ["train_0002.wav"]


def test_processes_give_the_result_of_one(tmp_path):
    trees.long_recording(tmp_path / "aihub", TRAIN, VALIDATION, zipped=True)
    one = tables(run(tmp_path, *SETS), "train")
    options = ["--aihub", str(tmp_path / "aihub"), "--out", str(tmp_path / "two")]
    main([*options, "--nj", "2", *SETS])
    assert tables(tmp_path / "two", "train") == one
    assert problems(tmp_path / "two") == []


def test_texts_of_further_tasks_are_written_and_removed_with_their_set(tmp_path):
    first, second = (entry(i, TRAIN_SPLIT) for i in (1, 2))
    first.texts["text_ja"] = "はい"
    more = replace(first, split="more")
    write_sets(tmp_path, [first, second, more], {"text_ja"})
    written = read_table(tmp_path / "train/text_ja", [])
    assert written == {"u0001": "はい", "u0002": "<na>"}
    write_sets(tmp_path, [first])
    assert not (tmp_path / "more").exists()


def test_a_table_that_not_all_of_a_set_have_is_not_written(tmp_path):
    entries = [replace(entry(i, TRAIN_SPLIT), language="es") for i in (1, 2)]
    others = [replace(one, split="more") for one in entries]
    others[1].language = ""
    write_sets(tmp_path, [*entries, *others])
    spoken = read_table(tmp_path / "train/utt2lang", [])
    assert spoken == {"u0001": "es", "u0002": "es"}
    assert not (tmp_path / "more/utt2lang").exists()
    assert not (tmp_path / "train/utt2condition").exists()


def test_a_run_without_training_leaves_the_sets_of_an_earlier_one(tmp_path):
    write_sets(tmp_path, [entry(1, TRAIN_SPLIT)])
    with ProblemLog(tmp_path / "problems.tsv") as log:
        with pytest.raises(ValueError, match="no utterance is left for train"):
            write_sets(tmp_path, make_sets(pool(10), Sizes(2, 2), log))
    assert read_table(tmp_path / "train/text", []) == {"u0001": "b"}
    assert not (tmp_path / "dev/text").exists()
    assert not list(tmp_path.rglob("*.part"))


def corpus_of(folder, number):
    """So many utterances of 0.1 s."""
    folder.mkdir()
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, 1600)
    soundfile.write(folder / "0.wav", wave, 16000)
    for at in range(number):
        path = folder / f"{at:06}.wav"
        path.hardlink_to(folder / "0.wav")
        split = "test" if at % 2 else TRAIN_SPLIT
        yield Entry(f"u-{at:06}", f"{at}", "c", split, str(path), "some words of text")


def test_utterances_need_no_memory(tmp_path):
    """Of 800 utterances, whose entries would be 0.8 MB."""
    left = tmp_path / "out/.entries-of-a-killed-run"
    left.mkdir(parents=True)
    (left / "lock").touch()
    write_corpus(corpus_of(tmp_path / "few", 2), tmp_path / "out", nj=1)
    tracemalloc.start()
    write_corpus(corpus_of(tmp_path / "all", 800), tmp_path / "out", nj=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(read_table(tmp_path / "out/train/wav.scp", [])) == 400
    assert peak < 800_000
    assert not list((tmp_path / "out").glob(".entries*"))


def test_an_id_with_a_space_is_named(tmp_path):
    entries = list(corpus_of(tmp_path / "corpus", 4))
    entries[0].id = "u 1"
    write_corpus(entries, tmp_path / "out", nj=1)
    assert list(read_table(tmp_path / "out/train/text", [])) == ["u-000002"]
    ((_, utterance, cause, fix, reason),) = problems(tmp_path / "out")
    assert (utterance, reason) == ("u 1", "unusable id")
    assert "a space ends it" in cause and fix == "Rename the recording"


def test_of_a_doubled_id_the_first_that_was_read_stays(tmp_path):
    entries = list(corpus_of(tmp_path / "corpus", 6))
    entries[4].id, entries[4].text = entries[2].id, "another"
    write_corpus(entries, tmp_path / "out", nj=1)
    kept = read_table(tmp_path / "out/train/text", [])
    assert kept == dict.fromkeys(["u-000000", "u-000002"], "some words of text")
    ((*_, reason),) = problems(tmp_path / "out")
    assert reason == "doubled id"
