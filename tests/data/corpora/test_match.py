"""A label finds its own recording, and no other that has the same name."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_smoe.data.corpora.match import Files, split_of, stem_of
from espnet_smoe.data.corpora.tree import list_tree
from tests.data.corpora import trees
from tests.data.corpora.test_kinds import SETS, TRAIN, VALIDATION, problems, run, tables


def files(scratch, *references):
    found = Files(Path("/c"), scratch)
    for reference in references:
        found.add(reference)
    found.index()
    return found


@pytest.mark.parametrize(
    ("label", "audio"),
    [
        ("1.Training/L/s1/a.json", "2.Validation/S/s1/a.wav"),  # of the other split
        ("TL_1.zip!s1/a.json", "VS_1.zip!s1/a.wav"),
        ("1.Training/L/S01/000.json", "1.Training/S/S02/000.wav"),  # a bare number
        ("1.Training/L/a.json", "1.Training/S/ab.wav"),
    ],
)
def test_label_without_its_recording_takes_no_other(tmp_path, label, audio):
    assert files(tmp_path, f"/c/{audio}").find(f"/c/{label}") == ""


@pytest.mark.parametrize(
    ("label", "audio"),
    [
        ("TL_1.zip!x/a.json", "TS_1.zip!y/z/a.wav"),  # the stem is unique
        ("[라벨]T_1.zip!0001.json", "[원천]T_1.zip!0001.wav"),
        ("02.라벨링데이터/s1/0001.json", "01.원천데이터/s1/0001.wav"),
        ("label/s1/0001.json", "wav/s1/0001.wav"),
        ("TL_1.zip!0001.json", "TS_1.zip!inner/0001.wav"),  # one folder more
        ("TL_1.zip!inner/0001.json", "TS_1.zip!0001.wav"),
        ("L\\s1\\0001.json", "S/s1/0001.wav"),
    ],
)
def test_label_finds_its_recording_over_differences_of_layout(tmp_path, label, audio):
    assert files(tmp_path, f"/c/{audio}").find(f"/c/{label}") == f"/c/{audio}"


def test_split_is_told_by_folders_below_the_corpus_only():
    assert split_of("/train/c/2.Validation/a.wav", "/train/c") == "validation"
    assert split_of("/train/c/x/a.wav", "/train/c") == ""
    assert split_of("/c/K_train_D20_wav_0.zip!a.wav", "/c") == "train"


FOLDERS = st.lists(st.sampled_from("ABC"), min_size=0, max_size=3).map("/".join)


@given(st.lists(st.tuples(FOLDERS, st.sampled_from(["1", "a"])), unique=True))
def test_recordings_have_different_names_and_are_found_by_their_labels(places):
    audio = {place: "/".join(("/c/TS_1.zip!x", *place)) + ".wav" for place in places}
    with TemporaryDirectory() as scratch:
        found = files(Path(scratch), *audio.values())
        names = [found.name_of(reference) for reference in audio.values()]
        assert len(set(names)) == len(names)
        for (folder, stem), reference in audio.items():
            label = "/".join(("/c/TL_1.zip!x", folder, stem)) + ".json"
            assert found.find(label) == reference


@given(st.text(st.characters(exclude_characters="/\\"), min_size=1))
def test_stem_is_the_name_without_its_last_suffix(name):
    assert stem_of(f"x/{name}.wav") == stem_of(f"a.zip!{name}.json")


def test_same_dialogue_name_in_both_splits_keeps_its_own_audio(tmp_path):
    corpus = trees.dialogue(tmp_path / "aihub", TRAIN, VALIDATION)
    for folder in list(corpus.rglob("S000009")):
        folder.rename(folder.with_name("S000001"))
    label = next((corpus / "01.데이터/1.Training").rglob("S000009.json"))
    text = label.read_text(encoding="utf-8").replace("S000009", "S000001")
    label.write_text(text.replace('"speaker"', '"nobody"'), encoding="utf-8")
    out = run(tmp_path, *SETS)
    found = tables(out, "train")["wav.scp"].values()
    assert len(found) == len(TRAIN)
    assert all("1.Training" in reference for reference in found)
    assert problems(out) == []


def test_speaker_of_one_dialogue_is_not_that_of_another(tmp_path):
    """Speakers are numbered anew in each dialogue; its path tells which it is."""
    corpus = trees.dialogue(tmp_path / "aihub", TRAIN, VALIDATION)
    for folder in list(corpus.rglob("S000009")):
        folder.rename(folder.with_name("S000001"))
    label = next((corpus / "01.데이터/1.Training").rglob("S000009.json"))
    text = label.read_text(encoding="utf-8")
    label.write_text(text.replace("D20/G02/S000009", "D21/G02/S000001"), "utf-8")
    assert len(tables(run(tmp_path, *SETS), "train")["text"]) == len(TRAIN)
    label.write_text(text.replace("S000009", "S000001"), encoding="utf-8")
    with pytest.raises(ValueError, match="no utterance is left for train"):
        run(tmp_path, *SETS)


def test_own_stem_comes_before_a_name_that_we_only_guess(tmp_path):
    corpus = trees.utterance_json(tmp_path / "aihub", TRAIN, VALIDATION)
    for number in (1, 2, 3):
        path = next(corpus.rglob(f"train_{number:04d}.json"))
        content = {"command": TRAIN[number - 1].korean, "file_name": "train_0003.wav"}
        trees.write_json(path, content)
    found = tables(run(tmp_path, *SETS), "train")
    assert list(found["text"].values()) == [item.korean for item in TRAIN]
    assert all(utt[4:] in ref for utt, ref in found["wav.scp"].items())


def test_linked_folders_are_followed(tmp_path):
    real = trees.utterance_json(tmp_path / "disk", TRAIN, VALIDATION)
    (tmp_path / "aihub/484.금융상담").mkdir(parents=True)
    (tmp_path / "aihub/484.금융상담/01.데이터").symlink_to(real / "01.데이터")
    tree = list_tree(tmp_path / "aihub/484.금융상담", None, tmp_path)
    assert len(tree.audio) == len(tree.labels) == len(TRAIN) + len(VALIDATION)
