"""Corpora by name, and one that is added from outside in a single file."""

import numpy as np
import pytest
import soundfile

from espnet_smoe.data.corpora.__main__ import main
from espnet_smoe.data.corpora.registry import corpora, find
from espnet_smoe.data.data_dir import read_table
from tests.data.corpora import trees
from tests.data.corpora.test_kinds import speech

CORPUS = '''
"""Digits: a folder a speaker."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from espnet_smoe.data.corpora import Entry, write_corpus


def prepare_digits(
    corpus_dir: Path,
    output_dir: Path,
    *,
    language: Literal["ko", "en"],
    test_speakers: Sequence[str] = ("s9",),
    speed: float = 1.0,
    upper: bool = False,
) -> str:
    """Spoken digits.

    Args:
        corpus_dir: A folder a speaker.
        output_dir: Where train and test go.
        language: What is spoken, 100 % of it,
            in every file.
        test_speakers: Those of the test set.
        speed: Not used.
        upper: Letters in capitals.
    """
    entries = []
    for wav in sorted(corpus_dir.glob("*/*.wav")):
        speaker, text = wav.parent.name, wav.stem
        entries.append(
            Entry(
                id=f"{speaker}-{text}",
                key=text,
                corpus="digits",
                split="test" if speaker in test_speakers else "train",
                audio=str(wav),
                text=text.upper() if upper else text,
                speaker=speaker,
                texts={"text_ja": "いち"} if text == "one" else {},
            )
        )
    return write_corpus(entries, output_dir, nj=1)
'''


@pytest.fixture
def digits(tmp_path):
    """The file with the function, and a corpus."""
    (tmp_path / "digits.py").write_text(CORPUS, encoding="utf-8")
    noise = np.random.default_rng(0)
    for speaker in ("s1", "s9"):
        folder = tmp_path / "corpus" / speaker
        folder.mkdir(parents=True)
        for text in ("one", "two"):
            wave = noise.uniform(-0.3, 0.3, 8000)
            soundfile.write(folder / f"{text}.wav", wave, 16000)
    return tmp_path


def prepare(folder, *options):
    main([str(folder / "digits.py"), *map(str, (folder / "corpus", *options))])
    return options[0]


def test_a_corpus_of_one_file_from_outside_becomes_data_directories(digits, capsys):
    out = prepare(digits, digits / "data", "--language", "en", "--upper")
    assert read_table(out / "train/text", []) == {"s1-one": "ONE", "s1-two": "TWO"}
    assert read_table(out / "train/text_ja", []) == {"s1-one": "いち", "s1-two": "<na>"}
    assert read_table(out / "test/utt2spk", []) == {"s9-one": "s9", "s9-two": "s9"}
    assert set(read_table(out / "test/utt2bandwidth", []).values()) == {"wb"}
    assert "| train | 0.00 | 2 | 1 |" in capsys.readouterr().out


def test_its_options_are_those_of_its_signature(digits, capsys):
    where = digits / "data"
    out = prepare(digits, where, "--language", "ko", "--test-speakers", "s1", "s2")
    assert list(read_table(out / "train/text", [])) == ["s9-one", "s9-two"]
    for wrong in ([], ["--language", "de"], ["--language", "ko", "--speed", "fast"]):
        with pytest.raises(SystemExit):
            prepare(digits, where, *wrong)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([str(digits / "digits.py"), "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "Digits: a folder a speaker." in told
    assert "What is spoken, 100 % of it, in every file." in told
    assert "Those of the test set. (default: ('s9',))" in told


def test_what_is_left_out_is_listed(digits):
    (digits / "corpus/s1/one.wav").write_text("no audio")
    out = prepare(digits, digits / "data", "--language", "en")
    assert list(read_table(out / "train/text", [])) == ["s1-two"]
    assert "s1-one" in (out / "problems.tsv").read_text(encoding="utf-8")


def test_the_overview_names_every_corpus(capsys):
    main([])
    told = capsys.readouterr().out
    assert {"aihub", "aishell", "fleurs"} <= set(corpora())
    assert all(f"\n  {name} " in told for name in corpora())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("aishel", "no corpus is called 'aishel', did you mean 'aishell'"),
        ("none.py", "none.py does not exist"),
        ("empty.py", "holds 0 functions prepare_<corpus>"),
    ],
)
def test_a_corpus_that_is_not_there_is_told(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.py").touch()
    with pytest.raises(ValueError, match=message):
        find(name)


def test_fleurs_has_texts_of_several_languages(tmp_path):
    root = trees.fleurs(tmp_path / "fleurs", speech(2, 40))
    (root / "ja_jp").mkdir()
    english = (root / "en_us/test.tsv").read_text(encoding="utf-8")
    japanese = english.replace("hello", "こんにちは")
    (root / "ja_jp/test.tsv").write_text(japanese, encoding="utf-8")
    main(["fleurs", str(root), str(tmp_path / "data"), "--targets", "ja_jp"])
    texts = read_table(tmp_path / "data/test/text_ja", [])
    assert [text.split()[0] for text in texts.values()] == ["こんにちは"] * 2
