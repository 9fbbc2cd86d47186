"""Every kind of corpus in its real layout, unpacked and zipped, becomes its sets."""

import json
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from espnet_smoe.data.corpora.__main__ import main
from espnet_smoe.data.data_dir import read_table
from espnet_smoe.data.speech.audio import read_audio
from tests.data.corpora import trees
from tests.data.corpora.trees import RATE, Sound, Speech

SETS = ("--dev-utterances", "1", "--test-utterances", "1")


def speech(count, seed, korean="안녕 {}", english="hello {}"):
    """Utterances of noise, each of its own length from 0.5 s."""
    rng = np.random.default_rng(seed)
    return [
        Speech(
            rng.uniform(-0.3, 0.3, RATE // 2 + 160 * (seed + i)).astype(np.float32),
            korean.format(seed + i),
            english.format(seed + i),
        )
        for i in range(count)
    ]


def narrow(item):
    """The same utterance without what is above 4 kHz, still at 16 kHz."""
    wave = soxr.resample(soxr.resample(item.wave, RATE, 8000), 8000, RATE)
    return item._replace(wave=wave)


def run(root, *options):
    out = root / "data"
    main(["--aihub", str(root / "aihub"), "--out", str(out), "--nj", "1", *options])
    return out


def tables(out, name):
    columns = ("wav.scp", "text", "text_st", "utt2bandwidth", "utt2spk")
    return {column: read_table(out / name / column, []) for column in columns}


def problems(out):
    lines = (out / "problems.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines]


def spoken(found, items, rate):
    """Whether the audio of the listed utterances is that of the items, in order."""
    for reference, item in zip(found["wav.scp"].values(), items, strict=True):
        wave, own = read_audio(reference)
        assert own == rate
        assert len(wave) == pytest.approx(len(item.wave) * rate / RATE, abs=2)
        back = soxr.resample(wave, rate, RATE)[: len(item.wave)]
        low = min(rate, RATE) / 2 * 0.8
        spectra = [np.abs(np.fft.rfft(w, RATE))[: int(low)] for w in (back, item.wave)]
        assert np.corrcoef(*spectra)[0, 1] > 0.95


TRAIN, VALIDATION = speech(3, 0), speech(4, 10)


@pytest.mark.parametrize("zipped", [False, True])
def test_ksponspeech_has_raw_audio_marks_and_test_sets_of_its_own(tmp_path, zipped):
    marked = "b/ 아/ 그 (70%)/(칠십 퍼센트) {}번 n/"
    train = speech(5, 0, marked)
    trees.ksponspeech(
        tmp_path / "aihub", train, VALIDATION, zipped, speech(2, 20), speech(1, 30)
    )
    out = run(tmp_path, *SETS)
    found = tables(out, "train")
    spoken(found, train, RATE)
    assert list(found["text"].items())[0] == (
        "123-KsponSpeech_000001",
        "아 그 칠십 퍼센트 0번",
    )
    assert set(found["text_st"].values()) == {"<na>"}
    assert ("!" in found["wav.scp"]["123-KsponSpeech_000001"]) == zipped
    spoken(tables(out, "eval_clean"), speech(2, 20), RATE)
    spoken(tables(out, "eval_other"), speech(1, 30), RATE)
    assert len(tables(out, "dev")["text"]) == len(tables(out, "test")["text"]) == 1
    assert problems(out) == []


@pytest.mark.parametrize("zipped", [False, True])
def test_dialogue_joins_audio_and_text_by_folder_and_knows_its_speakers(
    tmp_path, zipped
):
    sound = Sound(".wav", 44100, 2)
    trees.dialogue(tmp_path / "aihub", TRAIN, VALIDATION, zipped, sound)
    out = run(tmp_path, *SETS)
    found = tables(out, "train")
    spoken(found, TRAIN, 44100)
    assert list(found["text"].values()) == [item.korean for item in TRAIN]
    assert found["utt2spk"] == {
        "132-S000009_000000": "132-KconfSpeech_D20_G02_S000009-1",
        "132-S000009_000001": "132-KconfSpeech_D20_G02_S000009-2",
        "132-S000009_000002": "132-KconfSpeech_D20_G02_S000009-1",
    }
    assert len(tables(out, "test_male")["text"]) == 1
    assert len(tables(out, "test_female")["text"]) == 1
    assert problems(out) == []


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("sound", [Sound(".flac", 48000, 2), Sound(".wav", 8000)])
def test_long_recording_is_cut_by_reference_where_its_label_says(
    tmp_path, zipped, sound
):
    reversed_dual = "(삼십)/(30) 명 {}"
    train = speech(3, 0, reversed_dual)
    trees.long_recording(tmp_path / "aihub", train, VALIDATION, zipped, sound)
    out = run(tmp_path, *SETS)
    found = tables(out, "train")
    assert all("#" in reference for reference in found["wav.scp"].values())
    spoken(found, train, sound.rate)
    assert list(found["text"].values()) == [f"삼십 명 {i}" for i in range(3)]
    assert list(found["text_st"].values()) == [item.english for item in train]
    band = "nb" if sound.rate == 8000 else "wb"
    assert set(found["utt2bandwidth"].values()) == {band}
    assert found["utt2spk"]["464-SBRW21train.1.1.1"] == "464-SD21train1"
    assert problems(out) == []


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "text_key",
    ["script.scriptTN", "06_transcription.1_text", "command.text", "발화정보.stt"],
)
def test_utterance_json_is_read_by_any_known_key(tmp_path, zipped, text_key):
    trees.utterance_json(
        tmp_path / "aihub", TRAIN, VALIDATION, zipped, text_key=text_key
    )
    out = run(tmp_path, *SETS)
    found = tables(out, "train")
    spoken(found, TRAIN, RATE)
    assert list(found["text"].values()) == [item.korean for item in TRAIN]
    assert list(found["text_st"].values()) == [item.english for item in TRAIN]
    assert found["utt2spk"]["484-train_0001"] == "484-train_spk1"
    assert problems(out) == []


def test_text_beside_each_recording_is_its_transcript(tmp_path):
    """AIHub 130: .wav, .json without transcript, and .txt of one stem."""
    for split, items in (("1.Training", TRAIN), ("2.Validation", VALIDATION)):
        folder = tmp_path / "aihub/130.한국어음성/01.데이터" / split / "원천데이터"
        for number, item in enumerate(items):
            path = folder / f"ID{split[0]}{number}_0201FA1131.wav"
            trees.write_audio(path, item.wave)
            trees.write_json(path.with_suffix(".json"), {"metadata": path.stem})
            path.with_suffix(".txt").write_text(item.korean, encoding="utf-8")
    out = run(tmp_path, *SETS)
    assert list(tables(out, "train")["text"].values()) == [i.korean for i in TRAIN]
    assert problems(out) == []


def test_fleurs_gives_a_test_set_with_english_of_the_same_sentence(tmp_path):
    test = speech(3, 40, "문장 {} 번입니다.", 'Sentence "{}", as it is.')
    trees.fleurs(tmp_path / "fleurs", test)
    table = tmp_path / "fleurs/en_us/test.tsv"
    rows = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join(reversed(rows[1:])), encoding="utf-8")
    trees.ksponspeech(tmp_path / "aihub", TRAIN, VALIDATION)
    out = run(tmp_path, *SETS, "--fleurs", str(tmp_path / "fleurs"))
    found = tables(out, "test_fleurs")
    spoken(found, test, RATE)
    assert list(found["text_st"].values()) == ["<na>", *(i.english for i in test[1:])]
    assert list(found["text"].values()) == [f"문장 {40 + i} 번입니다" for i in range(3)]


def test_unknown_corpus_is_read_by_the_keys_of_the_yaml(tmp_path, capsys):
    corpus = tmp_path / "aihub/우리말 뭉치"
    for split, items in (("Training", TRAIN), ("Validation", VALIDATION)):
        parts, now, waves = [], 0.0, []
        for item in items:
            end = now + len(item.wave) / RATE
            times = {"from": f"0:00:{now:.4f}", "to": f"0:00:{end:.4f}"}
            parts.append({"what": item.korean, "eng": item.english, **times})
            waves.append(item.wave)
            now = end
        trees.write_audio(corpus / f"{split}/소리/{split}-A.wav", np.concatenate(waves))
        content = {"rec": {"file": f"{split}-A.wav", "hz": "16kHz"}, "lines": parts}
        trees.write_json(corpus / f"{split}/글/label-{split}.json", content)
    with pytest.raises(ValueError, match="too few for dev and test"):
        run(tmp_path, *SETS)
    said = capsys.readouterr().err
    assert "label-Training.json" in said
    assert "rec.file, rec.hz, lines.0.what" in said
    assert "corpora: {우리말 뭉치: {keys: {text: KEY}}}" in said

    config = tmp_path / "corpora.yaml"
    config.write_text(
        "corpora:\n"
        "  우리말 뭉치:\n"
        "    keys: {audio: rec.file, sample_rate: rec.hz, utterances: lines,\n"
        "           text: [said, what], translation: eng, start: from, end: to,\n"
        "           text_further: eng}\n",
        encoding="utf-8",
    )
    out = run(tmp_path, *SETS, "--config", str(config))
    found = tables(out, "train")
    assert list(found["text"].values()) == [item.korean for item in TRAIN]
    assert list(found["text_st"].values()) == [item.english for item in TRAIN]
    assert read_table(out / "train/text_further", []) == found["text_st"]
    spoken(found, TRAIN, RATE)


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("corpora: {X: {kind: utterance_json}}", "no corpus is named 'X'"),
        ("corpora: {123.한국어음성: {kind: kspon}}", "did you mean 'ksponspeech'"),
        ("corpora: {123.한국어음성: {spoken_first: x}}", "'x' is not true or false"),
        ("corpora: {123.한국어음성: {keys: {text: 3}}}", "text: 3 is not text or a"),
        ("corpora: {123.한국어음성: 3}", "123.한국어음성: 3 is not a section"),
        ("corpora: {}\ncorpora: {}", "'corpora' stands there twice"),
        ("corpora: {123.한국어음성: {key: {}}}", "did you mean 'keys'"),
        ("corpora: {123.한국어음성: {keys: {txt: a}}}", "did you mean 'text'"),
        ("corpora: [a", "not YAML: line 1"),
    ],
)
def test_wrong_yaml_is_an_error_with_its_place(tmp_path, yaml, said):
    trees.ksponspeech(tmp_path / "aihub", TRAIN, VALIDATION)
    (tmp_path / "c.yaml").write_text(yaml, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        run(tmp_path, "--config", str(tmp_path / "c.yaml"))


def test_corpus_can_be_left_out(tmp_path):
    trees.ksponspeech(tmp_path / "aihub", TRAIN, VALIDATION)
    trees.utterance_json(tmp_path / "aihub", TRAIN, VALIDATION)
    config = tmp_path / "c.yaml"
    config.write_text("corpora: {484.금융상담: {kind: skip}}", encoding="utf-8")
    out = run(tmp_path, *SETS, "--config", str(config))
    assert all(u.startswith("123-") for u in tables(out, "train")["text"])


def test_english_comes_from_parallel_text_by_sentence_and_by_id(tmp_path):
    train = speech(3, 0, "(삼십)/(30)번 문장 {}.")
    trees.utterance_json(
        tmp_path / "aihub",
        [item._replace(english="") for item in train],
        [item._replace(english="") for item in VALIDATION],
    )
    table = tmp_path / "parallel.csv"
    rows = ["id,원문,번역문", ",(삼십)/(30)번 문장 0,by sentence"]
    rows += ["train_0002,다른 문장,by id"]
    table.write_text("\n".join(rows), encoding="utf-8")
    out = run(tmp_path, *SETS, "--parallel", str(table))
    found = list(tables(out, "train")["text_st"].values())
    assert found == ["by sentence", "by id", "<na>"]


def test_bare_number_joins_no_parallel_text(tmp_path):
    train = [item._replace(english="") for item in TRAIN]
    corpus = trees.long_recording(tmp_path / "aihub", train, VALIDATION)
    for path in corpus.rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        for number, part in enumerate(content["utterance"], 1):
            part["id"] = str(number)
        trees.write_json(path, content)
    table = tmp_path / "parallel.csv"
    rows = ["id,ko,en", "1,다른 문장,wrong", "464-SBRW21train_2,또 다른 문장,right"]
    table.write_text("\n".join(rows), encoding="utf-8")
    out = run(tmp_path, *SETS, "--parallel", str(table))
    found = list(tables(out, "train")["text_st"].values())
    assert found == ["<na>", "right", "<na>"]


def test_choices_of_normalisation_are_options(tmp_path):
    train = speech(2, 0, "아/ (70%)/(칠십 퍼센트)요.")
    trees.ksponspeech(tmp_path / "aihub", train, VALIDATION)
    out = run(tmp_path, *SETS, "--dual", "written", "--fillers", "drop")
    assert set(tables(out, "train")["text"].values()) == {"70%요"}


def test_corpus_itself_may_be_named_instead_of_the_folder_of_corpora(tmp_path):
    corpus = trees.utterance_json(tmp_path / "aihub", TRAIN, VALIDATION)
    out = tmp_path / "data"
    main(["--aihub", str(corpus), "--out", str(out), "--nj", "1", *SETS])
    assert list(tables(out, "train")["text"])[0] == "484-train_0001"


@pytest.mark.parametrize("own_folder", [True, False])
def test_archive_that_was_unpacked_beside_itself_is_not_read_twice(
    tmp_path, own_folder
):
    corpus = trees.utterance_json(tmp_path / "aihub", TRAIN, VALIDATION, zipped=True)
    for archive in list(corpus.rglob("*.zip")):
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(archive.with_suffix("") if own_folder else archive.parent)
    out = run(tmp_path, *SETS)
    found = tables(out, "train")["wav.scp"]
    assert len(found) == len(TRAIN)
    assert not any("!" in reference for reference in found.values())
    assert problems(out) == []


def test_names_unpacked_with_decomposed_hangul_find_their_labels(tmp_path):
    corpus = trees.ksponspeech(tmp_path / "aihub", TRAIN, VALIDATION)
    folder = corpus / "01.데이터/1.Training"
    composed = unicodedata.normalize("NFC", "회의")
    decomposed = unicodedata.normalize("NFD", "회의")
    trees.write_audio(folder / "원천데이터" / f"{decomposed}.wav", TRAIN[0].wave)
    label = folder / "라벨링데이터" / f"{composed}.json"
    trees.write_json(label, {"command": "네"})
    (corpus / "scripts").rename(tmp_path / "scripts")
    trees.utterance_json(tmp_path / "aihub", TRAIN, VALIDATION)
    out = run(tmp_path, *SETS)
    assert tables(out, "train")["text"][f"123-{composed}"] == "네"


def test_same_stem_in_two_archives_goes_with_the_label_of_its_archive(tmp_path):
    folder = tmp_path / "aihub/135.명령어/01.데이터/1.Training"
    items = {"01": TRAIN[0], "02": TRAIN[1]}
    for number, item in items.items():
        for side, kind in (("원천데이터", "S"), ("라벨링데이터", "L")):
            inner = tmp_path / "inner"
            if kind == "S":
                trees.write_audio(inner / "0001.wav", item.wave)
            else:
                trees.write_json(inner / "0001.json", {"command": item.korean})
            trees.zip_up(inner, folder / f"0.{side}" / f"T{kind}_{number}.식당.zip")
    trees.ksponspeech(tmp_path / "aihub", TRAIN, VALIDATION)
    out = run(tmp_path, *SETS)
    found = tables(out, "train")
    mine = [utt for utt in found["text"] if utt.startswith("135-")]
    assert [found["text"][utt] for utt in mine] == [i.korean for i in items.values()]
    for utt, item in zip(mine, items.values(), strict=True):
        assert len(read_audio(found["wav.scp"][utt])[0]) == len(item.wave)


def test_channels_and_rates_are_those_on_the_disk(tmp_path):
    """The builders do what they say, or the tests above would prove little."""
    corpus = trees.dialogue(tmp_path, TRAIN, VALIDATION, sound=Sound(".wav", 44100, 2))
    info = soundfile.info(next(corpus.rglob("*.wav")))
    assert (info.samplerate, info.channels) == (44100, 2)
    label = json.loads(Path(next(corpus.rglob("*.json"))).read_text(encoding="utf-8"))
    assert label["dataSet"]["dialogs"][0]["audioPath"].endswith("000000.wav")
