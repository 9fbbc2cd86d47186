"""Every fault of the corpora gets a line that names it; nothing is lost silently."""

import json
import os
import unicodedata
import zipfile

import numpy as np
import pytest

from espnet_smoe.data.corpora.__main__ import main
from espnet_smoe.data.data_dir import read_table
from tests.data.corpora import trees
from tests.data.corpora.test_kinds import (
    SETS,
    TRAIN,
    VALIDATION,
    narrow,
    problems,
    run,
    speech,
    tables,
)
from tests.data.corpora.trees import RATE, Sound

TRAINING = "01.데이터/1.Training"


def audio(corpus, number):
    return next((corpus / TRAINING).rglob(f"train_{number:04d}.wav"))


def label(corpus, number):
    return next((corpus / TRAINING).rglob(f"train_{number:04d}.json"))


def rewrite(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    trees.write_json(path, content)


def no_audio(corpus):
    audio(corpus, 2).unlink()
    return label(corpus, 2)


def no_label(corpus):
    label(corpus, 2).unlink()
    return audio(corpus, 2)


def empty_text(corpus):
    rewrite(label(corpus, 2), lambda c: c["script"].update(scriptTN="  "))
    return label(corpus, 2)


def unseen_text(corpus):
    rewrite(label(corpus, 2), lambda c: c["script"].update(scriptTN="\u200b\u3164"))
    return label(corpus, 2)


def lost_characters(corpus):
    rewrite(label(corpus, 2), lambda c: c["script"].update(scriptTN="안\ufffd하세요"))
    return label(corpus, 2)


def only_marks(corpus):
    rewrite(label(corpus, 2), lambda c: c["script"].update(scriptTN="b/ n/ ."))
    return label(corpus, 2)


def half_json(corpus):
    path = label(corpus, 2)
    path.write_bytes(path.read_bytes()[:40])
    return path


def no_encoding(corpus):
    label(corpus, 2).write_bytes(b'{"a": "\xff\xff\xff"}')
    return label(corpus, 2)


def other_keys(corpus):
    trees.write_json(label(corpus, 2), {"결과": {"말": "안녕"}})
    return label(corpus, 2)


def no_sound(corpus):
    audio(corpus, 2).write_bytes(b"this is no audio")
    return audio(corpus, 2)


def silence(corpus):
    trees.write_audio(audio(corpus, 2), np.zeros(RATE))
    return audio(corpus, 2)


@pytest.mark.parametrize(
    ("spoil", "reason", "said"),
    [
        (no_audio, "label without audio", "no recording fits the label"),
        (no_label, "audio without label", "no label fits the recording"),
        (empty_text, "empty transcription", "empty transcription"),
        (unseen_text, "empty transcription", "empty transcription"),
        (lost_characters, "lost characters", "U+FFFD stands for some in '안"),
        (only_marks, "nothing left of the transcription", "only marks in 'b/ n/ .'"),
        (half_json, "unreadable JSON", "not JSON"),
        (no_encoding, "unreadable label", "neither UTF-8 nor CP949"),
        (other_keys, "unknown JSON", "keys: 결과.말"),
        (no_sound, "unreadable audio", "cannot be read as audio"),
        (silence, "unreadable audio", "every sample of the audio is zero"),
    ],
)
def test_fault_is_named_counted_and_costs_one_utterance(
    corpus, tmp_path, capsys, spoil, reason, said
):
    path = spoil(corpus)
    out = run(tmp_path, *SETS)
    assert list(tables(out, "train")["text"]) == ["484-train_0001", "484-train_0003"]
    ((file, _, cause, fix, why),) = problems(out)
    assert file == str(path)
    assert said in cause
    assert fix
    assert why == reason
    shown = capsys.readouterr()
    assert str(path) in shown.err
    assert f"| 484.금융상담 | {reason} | 1 |" in shown.out
    assert shown.out.strip() == (out / "report.md").read_text(encoding="utf-8").strip()


def test_doubtful_readings_are_named_and_unicode_forms_counted(
    corpus, tmp_path, capsys
):
    written = unicodedata.normalize("NFD", "24/7 영업은 3:30 부터")
    rewrite(label(corpus, 2), lambda c: c["script"].update(scriptTN=written))
    out = run(tmp_path, *SETS)
    assert tables(out, "train")["text"]["484-train_0002"] == "24 7 영업은 3시 30분 부터"
    ((_, utt, cause, _, why),) = problems(out)
    assert (utt, why) == ("484-train_0002", "doubtful reading")
    assert cause.endswith("24/7")
    shown = capsys.readouterr().out
    assert "| 484.금융상담 | doubtful reading | 1 |" in shown
    assert "| 484.금융상담 | decomposed characters | 1 |" in shown


def test_second_label_of_an_utterance_is_named(tmp_path):
    corpus = trees.ksponspeech(tmp_path / "aihub", TRAIN, VALIDATION)
    script = corpus / "scripts/train.trn"
    lines = script.read_text(encoding="utf-8").splitlines()
    script.write_text("\n".join([*lines, lines[0], "no text"]), encoding="utf-8")
    out = run(tmp_path, *SETS)
    assert len(tables(out, "train")["text"]) == len(TRAIN)
    rows = problems(out)
    assert sorted(row[-1] for row in rows) == ["doubled id", "unreadable label"]
    assert any(row[1] == "123-KsponSpeech_000001" for row in rows)
    assert any(row[0] == f"{script}:5" for row in rows)


@pytest.mark.parametrize(
    ("encoding", "noted"),
    [
        ("cp949", "label in CP949"),
        ("utf-8-sig", "label with a BOM"),
        ("utf-16", "label in UTF-16"),
    ],
)
def test_json_in_other_encodings_is_read_and_noted(tmp_path, encoding, noted):
    trees.utterance_json(tmp_path / "aihub", TRAIN, VALIDATION, encoding=encoding)
    out = run(tmp_path, *SETS)
    found = tables(out, "train")["text"]
    assert list(found.values()) == [item.korean for item in TRAIN]
    rows = problems(out)
    assert len(rows) == len(TRAIN) + len(VALIDATION)
    assert {row[-1] for row in rows} == {noted}
    assert all(row[0].endswith(".json") for row in rows)


@pytest.mark.parametrize("name", ["TS_01.상담.zip", "TL_01.상담.zip"])
def test_archive_cut_in_half_is_named_and_the_rest_is_used(tmp_path, name):
    corpus = trees.utterance_json(tmp_path / "aihub", TRAIN, VALIDATION, zipped=True)
    trees.ksponspeech(tmp_path / "aihub", TRAIN, VALIDATION)
    archive = next(corpus.rglob(name))
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    out = run(tmp_path, *SETS)
    broken = [row for row in problems(out) if row[-1] == "broken zip"]
    assert [row[0] for row in broken] == [str(archive)]
    assert "Download it again" in broken[0][3]
    lost = [row for row in problems(out) if row[-1] != "broken zip"]
    side = "label without audio" if name.startswith("TS") else "audio without label"
    assert [row[-1] for row in lost] == [side] * len(TRAIN)
    assert all(u.startswith("123-") for u in tables(out, "train")["text"])


def test_archives_not_joined_or_of_another_kind_are_named(corpus, tmp_path):
    (corpus / "TS_2.zip.part0").write_bytes(b"x")
    (corpus / "TS_3.tar.gz").write_bytes(b"x")
    with zipfile.ZipFile(corpus / "TS_4.zip", "w") as outer:
        outer.writestr("inner.zip", b"x")
    out = run(tmp_path, *SETS)
    fixes = {os.path.basename(row[0]): row[3] for row in problems(out)}
    assert fixes["TS_2.zip.part0"].startswith("Join the parts")
    assert fixes["TS_3.tar.gz"] == "Unpack it where it is"
    assert fixes["TS_4.zip!inner.zip"] == "Unpack the outer one beside it"


@pytest.mark.parametrize(
    ("sound", "claimed", "heard", "said"),
    [
        (Sound(rate=8000), "16kHz", narrow, "header says 8000 Hz"),
        (Sound(), "16000", narrow, "its sound ends at 4 kHz"),
        (Sound(".flac", 48000, 2), "", narrow, "its sound ends at 4 kHz"),
    ],
)
def test_8_khz_recording_labelled_wider_is_named_and_narrowband(
    tmp_path, sound, claimed, heard, said
):
    train = [heard(item) if sound.rate > 8000 else item for item in TRAIN]
    trees.utterance_json(
        tmp_path / "aihub", train, VALIDATION, sound=sound, rate_claimed=claimed
    )
    out = run(tmp_path, *SETS)
    assert set(tables(out, "train")["utt2bandwidth"].values()) == {"nb"}
    rows = [row for row in problems(out) if "train_" in row[1]]
    assert [row[1] for row in rows] == [f"484-train_{i:04d}" for i in (2, 1, 3)]
    assert all(said in row[2] for row in rows)
    assert {row[-1] for row in rows} == {"8 kHz recording labelled 16 kHz"}


def test_8_khz_recording_that_says_so_is_narrowband_without_a_line(tmp_path):
    trees.utterance_json(
        tmp_path / "aihub", TRAIN, VALIDATION, sound=Sound(rate=8000), rate_claimed="8"
    )
    out = run(tmp_path, *SETS)
    assert set(tables(out, "train")["utt2bandwidth"].values()) == {"nb"}
    assert problems(out) == []


def test_wideband_recording_labelled_8_khz_stays_wideband_and_is_named(tmp_path):
    trees.utterance_json(tmp_path / "aihub", TRAIN, VALIDATION, rate_claimed="8kHz")
    out = run(tmp_path, *SETS)
    assert set(tables(out, "train")["utt2bandwidth"].values()) == {"wb"}
    assert {row[-1] for row in problems(out)} == {"wideband recording labelled 8 kHz"}


def test_headerless_audio_of_another_rate_is_named(tmp_path):
    sound = Sound(".pcm")
    trees.ksponspeech(tmp_path / "aihub", TRAIN, VALIDATION)
    trees.utterance_json(
        tmp_path / "aihub", TRAIN, VALIDATION, sound=sound, rate_claimed="8kHz"
    )
    rows = problems(run(tmp_path, *SETS))
    assert {row[2] for row in rows} == {"headerless audio of 8000 Hz, not 16000"}
    assert len(rows) == len(TRAIN) + len(VALIDATION)


def test_parts_of_a_recording_share_the_band_of_most_of_it(tmp_path):
    train = [*speech(3, 0), narrow(TRAIN[0])]
    trees.long_recording(tmp_path / "aihub", train, VALIDATION)
    out = run(tmp_path, *SETS)
    assert set(tables(out, "train")["utt2bandwidth"].values()) == {"wb"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"start": "soon"}, "wrong times"),
        ({"start": 2.0, "end": 1.0}, "wrong times"),
        ({"start": 500, "end": 501}, "unreadable audio"),
        ({"form": ""}, "empty transcription"),
    ],
)
def test_bad_part_of_a_recording_costs_only_that_part(tmp_path, change, reason):
    corpus = trees.long_recording(tmp_path / "aihub", TRAIN, VALIDATION)
    path = next((corpus / TRAINING).rglob("*.json"))
    rewrite(path, lambda content: content["utterance"][1].update(change))
    out = run(tmp_path, *SETS)
    assert len(tables(out, "train")["text"]) == 2
    ((_, utterance, _, _, why),) = problems(out)
    assert (utterance, why) == ("464-SBRW21train.1.1.2", reason)


def test_long_recording_that_is_missing_counts_all_its_utterances(tmp_path, capsys):
    corpus = trees.long_recording(tmp_path / "aihub", TRAIN, VALIDATION)
    trees.ksponspeech(tmp_path / "aihub", TRAIN, VALIDATION)
    next((corpus / TRAINING).rglob("*.wav")).unlink()
    out = run(tmp_path, *SETS)
    assert len(problems(out)) == 1
    said = capsys.readouterr().out
    assert f"| 464.주요영역회의 | label without audio | {len(TRAIN)} |" in said


def test_missing_turn_of_a_dialogue_takes_no_turn_of_another(tmp_path):
    corpus = trees.dialogue(tmp_path / "aihub", TRAIN, VALIDATION)
    for path in (corpus / TRAINING).rglob("*.wav"):
        path.unlink()
    trees.ksponspeech(tmp_path / "aihub", TRAIN, VALIDATION)
    out = run(tmp_path, *SETS)
    assert all(u.startswith("123-") for u in tables(out, "train")["text"])
    assert [row[-1] for row in problems(out)] == ["label without audio"] * len(TRAIN)


def test_corpus_without_any_audio_gets_one_line(tmp_path):
    trees.ksponspeech(tmp_path / "aihub", TRAIN, VALIDATION)
    label = tmp_path / "aihub/126.한영말뭉치/01.데이터/1.Training/a.json"
    trees.write_json(label, [{"ko": "네", "en": "yes"}])
    out = run(tmp_path, *SETS)
    ((file, _, _, fix, reason),) = problems(out)
    assert file.endswith("126.한영말뭉치")
    assert reason == "corpus without audio"
    assert "--parallel" in fix


@pytest.mark.parametrize("there", [None, "empty", "other"])
def test_wrong_path_says_what_was_sought_and_what_is_there(tmp_path, there):
    path = tmp_path / "aihub"
    if there:
        path.mkdir()
    if there == "other":
        (path / "notes.pdf").write_bytes(b"x")
    with pytest.raises(ValueError) as stop:
        main(["--aihub", str(path), "--out", str(tmp_path / "data")])
    said = str(stop.value)
    assert said.startswith(str(path))
    assert "Give --aihub the folder that holds the corpora" in said
    expected = {None: "not a folder", "empty": "there is: nothing"}
    assert expected.get(there, "there is: notes.pdf") in said


@pytest.mark.parametrize("missing", ["ko_kr/test.tsv", "en_us", "ko_kr/audio"])
def test_incomplete_fleurs_is_an_error_with_its_fix(tmp_path, missing):
    trees.ksponspeech(tmp_path / "aihub", TRAIN, VALIDATION)
    root = trees.fleurs(tmp_path / "fleurs", speech(2, 40))
    (root / missing).rename(tmp_path / "away")
    with pytest.raises(ValueError, match="--fleurs: "):
        run(tmp_path, "--fleurs", str(root))


def test_first_faults_are_shown_and_all_are_in_the_file(tmp_path, capsys):
    corpus = trees.utterance_json(tmp_path / "aihub", TRAIN, VALIDATION)
    folder = audio(corpus, 1).parent
    for number in range(30):
        trees.write_audio(folder / f"more_{number}.wav", TRAIN[0].wave)
    out = run(tmp_path, *SETS)
    assert len(problems(out)) == 30
    shown = capsys.readouterr().err.splitlines()
    assert sum("no label fits" in line for line in shown) == 20
    assert any(line.startswith("... more in") for line in shown)


def test_ids_and_tables_of_a_directory_agree(corpus, tmp_path):
    out = run(tmp_path, *SETS)
    for name in ("train", "dev", "test_male", "test_female"):
        found = tables(out, name)
        ids = list(found["wav.scp"])
        assert ids == sorted(ids)
        assert all(list(table) == ids for table in found.values())
        assert read_table(out / name / "text", []) == found["text"]
