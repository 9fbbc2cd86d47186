"""No file of a corpus breaks its preparation, whatever it holds and is called."""

import copy
import itertools
import json
import os
import zipfile

import pytest

from espnet_smoe.config import archive_limits
from espnet_smoe.data.corpora import labels
from espnet_smoe.data.corpora.config import CorpusRules
from espnet_smoe.data.corpora.corpus import Corpus
from espnet_smoe.data.corpora.tree import list_tree
from espnet_smoe.data.problems import ProblemLog
from espnet_smoe.data.speech.archive import read_bytes
from espnet_smoe.data.speech.audio import read_audio
from tests.data.corpora import trees
from tests.data.corpora.test_bad_input import audio, label
from tests.data.corpora.test_kinds import (
    SETS,
    TRAIN,
    VALIDATION,
    problems,
    run,
    tables,
)


def null_json(corpus):
    label(corpus, 2).write_text("null")
    return label(corpus, 2)


def deep_json(corpus):
    label(corpus, 2).write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    return label(corpus, 2)


def deep_unknown_json(corpus):
    label(corpus, 2).write_text('{"a":' * 500 + "1" + "}" * 500)
    return label(corpus, 2)


def half_a_character(corpus):
    spoilt = {"speakerId": "F\ud800"}
    rewrite_escaped(label(corpus, 2), lambda c: c.update(speaker=spoilt))
    return label(corpus, 2)


def rewrite_escaped(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def huge_json(corpus):
    with open(label(corpus, 2), "r+b") as file:
        file.truncate(1_500_000_000)  # takes no room on the disk
    return label(corpus, 2)


def cut_wav(corpus):
    path = audio(corpus, 2)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize(
    ("spoil", "reason", "said"),
    [
        (null_json, "unreadable JSON", "nothing but null"),
        (deep_json, "unreadable JSON", "nested too deeply"),
        (deep_unknown_json, "unknown JSON", "keys: a.a.a"),
        (half_a_character, "not Unicode", "half a character"),
        (huge_json, "unreadable label", "too large: 1,500,000,000 bytes"),
        (cut_wav, "unreadable audio", "is cut off or damaged: 50%"),
    ],
)
def test_a_hostile_file_costs_one_utterance(corpus, tmp_path, spoil, reason, said):
    path = spoil(corpus)
    out = run(tmp_path, *SETS)
    assert list(tables(out, "train")["text"]) == ["484-train_0001", "484-train_0003"]
    ((file, _, cause, fix, why),) = problems(out)
    assert (file, why) == (str(path), reason)
    assert said in cause and fix


def test_a_name_that_is_not_utf8_is_named(corpus, tmp_path):
    path = audio(corpus, 2)
    odd = os.fsencode(path.parent) + "/녹음.wav".encode("cp949")
    os.rename(path, odd)
    out = run(tmp_path, *SETS)
    rows = {row[-1]: row for row in problems(out)}
    assert set(rows) == {"name not UTF-8", "label without audio"}
    assert "convmv" in rows["name not UTF-8"][3]


def test_links_to_folders_above_and_pipes_are_named_not_followed(corpus, tmp_path):
    folder = audio(corpus, 1).parent
    (folder / "again").symlink_to(corpus, target_is_directory=True)
    os.mkfifo(folder / "pipe.wav")
    (folder / "nothing.wav").symlink_to(folder / "gone.wav")
    out = run(tmp_path, *SETS)
    assert len(tables(out, "train")["text"]) == len(TRAIN)
    found = sorted((os.path.basename(row[0]), row[-1]) for row in problems(out))
    assert found == [
        ("again", "folder linked twice"),
        ("nothing.wav", "no file"),
        ("pipe.wav", "no file"),
    ]


def test_a_corpus_that_is_a_link_is_read(tmp_path):
    corpus = trees.utterance_json(tmp_path / "elsewhere", TRAIN, VALIDATION)
    (tmp_path / "aihub").mkdir()
    (tmp_path / "aihub" / corpus.name).symlink_to(corpus, target_is_directory=True)
    out = run(tmp_path, *SETS)
    assert len(tables(out, "train")["text"]) == len(TRAIN)
    assert problems(out) == []


@pytest.mark.parametrize("name", ["two  spaces", "a#1-2", "b|", "nbsp\u00a0"])
def test_a_folder_of_any_name_is_read(corpus, tmp_path, name):
    folder = audio(corpus, 1).parent
    folder.rename(folder.with_name(name))
    out = run(tmp_path, *SETS)
    assert len(tables(out, "train")["text"]) == len(TRAIN)
    assert problems(out) == []


KINDS = [trees.utterance_json, trees.long_recording, trees.dialogue]


VALUES = [None, 5, "", "text", [], {}, [None], [[1]], {"a": None}, True, 1e400]


def variants(content, path=()):
    """Every place of a label, as the way that leads there."""
    yield path
    items = ()
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list):
        items = enumerate(content[:1])
    for key, value in items:
        yield from variants(value, (*path, key))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_whatever_a_label_holds_nothing_breaks(kind, tmp_path):
    corpus = kind(tmp_path / "aihub", TRAIN, VALIDATION)
    path = sorted(corpus.rglob("*.json"))[0]
    whole = json.loads(path.read_text(encoding="utf-8"))
    tree = list_tree(corpus, ProblemLog(tmp_path / "unused"), tmp_path)
    with ProblemLog(tmp_path / "problems.tsv") as log:
        for place, value in itertools.product(variants(whole), VALUES):
            content = copy.deepcopy(whole) if place else value
            inner = content
            for step in place[:-1]:
                inner = inner[step]
            if place:
                inner[place[-1]] = value
            path.write_text(json.dumps(content), encoding="utf-8")
            list(labels.entries(Corpus("c", "c", tree, log, CorpusRules())))


def test_a_member_that_unpacks_a_thousandfold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_limits, "LARGEST_UNDOUBTED", 2**22)
    bomb = tmp_path / "TS_1.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("bomb.wav", bytes(2**23))
    with pytest.raises(ValueError, match="bomb.wav unpacks from .* Take it out"):
        read_audio(f"{bomb}!bomb.wav")
    with pytest.raises(ValueError, match="bomb.wav is too large"):
        read_bytes(f"{bomb}!bomb.wav", 2**20)
