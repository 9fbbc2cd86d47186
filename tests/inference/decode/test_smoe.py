"""Stage 12 writes a hypothesis an utterance and task, however many processes."""

import json

import pytest
import soundfile

from espnet_smoe.inference.decode.driver import main
from espnet_smoe.inference.decode.journal import Journal
from espnet_smoe.inference.decode.parallel import DecodedPart
from espnet_smoe.inference.recognizers.smoe import SMoESpeechToText
from tests.inference.sounds import not_speech
from tests.tiny import save_experiment, talk, tiny_config

UTTERANCES = {f"utt{i}": 0.4 + 0.1 * i for i in range(5)}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    return save_experiment(folder, tiny_config(folder))


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for i, (name, seconds) in enumerate(UTTERANCES.items()):
        soundfile.write(tmp_path / f"{name}.wav", talk(seconds, seed=i), 16000)
    lines = [f"{name} {tmp_path / name}.wav\n" for name in UTTERANCES]
    (folder / "wav.scp").write_text("".join(lines))
    (folder / "utt2bandwidth").write_text("".join(f"{u} nb\n" for u in UTTERANCES))
    (tmp_path / "decode.yaml").write_text("beam_size: 2\nmaxlenratio: -5\n")
    return tmp_path


def decode(experiment, data, out, *more):
    config, model = map(str, experiment)
    files = ("--train-config", config, "--model-file", model)
    folders = ("--data", str(data / "data"), "--out", str(data / out))
    options = ("--config", str(data / "decode.yaml"))
    main([*files, *folders, *options, *more])
    return data / out


def test_every_utterance_has_a_line_a_task(experiment, data):
    out = decode(experiment, data, "out")
    for task in ("asr", "st"):
        lines = (out / f"hyp.{task}").read_text().splitlines()
        assert [line.split()[0] for line in lines] == list(UTTERANCES)
    summary = json.loads((out / "decode.json").read_text())
    assert summary["audio_seconds"] == pytest.approx(sum(UTTERANCES.values()))
    assert summary["rtf"] == pytest.approx(
        summary["compute_seconds"] / summary["audio_seconds"], rel=0.05
    )
    assert (summary["beam_size"], summary["tasks"]) == (2, ["asr", "st"])


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("decode.yaml", "beam: 2\n", r"unknown key 'beam', did you mean 'beam_size'"),
        ("data/wav.scp", "utt0 /no/such.wav\n", r"utterance utt0: .*such.wav does not"),
        ("data/utt2bandwidth", "utt0 xb\n", r"utterance utt0: unknown bandwidth 'xb'"),
        ("data/wav.scp", "", "is empty"),
    ],
)
def test_fault_names_its_place(experiment, data, file, content, message):
    (data / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        decode(experiment, data, "out")


def test_sets_share_a_loaded_model_and_have_the_texts_of_each_alone(
    experiment, data, monkeypatch
):
    alone = (decode(experiment, data, "alone") / "hyp.asr").read_text()
    other = data / "other"
    other.mkdir()
    for name in ("wav.scp", "utt2bandwidth"):
        line = (data / "data" / name).read_text().splitlines()[1]
        (other / name).write_text(line.replace("utt1", "o", 1) + "\n")
    loaded = []
    load = SMoESpeechToText.__init__
    monkeypatch.setattr(
        SMoESpeechToText,
        "__init__",
        lambda self, *a, **k: (loaded.append(a), load(self, *a, **k))[1],
    )
    decode(experiment, data, "both/{set}", "--data", str(data / "data"), str(other))
    assert len(loaded) == 1
    assert (data / "both/data/hyp.asr").read_text() == alone
    of_one = (data / "both/other/hyp.asr").read_text()
    assert of_one == alone.splitlines()[1].replace("utt1", "o") + "\n"
    assert json.loads((data / "both/other/decode.json").read_text())["utterances"] == 1
    with pytest.raises(ValueError, match=r"data, other need a folder each.*\{set\}"):
        decode(experiment, data, "one", "--data", str(data / "data"), str(other))


def test_segments_are_decoded_as_the_utterances_they_cut(experiment, data):
    whole, _ = soundfile.read(data / "utt4.wav", dtype="float32")
    soundfile.write(data / "b.wav", whole[6400:], 16000)
    folder = data / "data"
    (folder / "wav.scp").write_text(f"rec cat {data / 'utt4.wav'} |\n")
    (folder / "segments").write_text("a rec 0 -1\nb rec 0.4 0.8\n")
    (folder / "utt2bandwidth").write_text("a nb\nb nb\n")
    cut = (decode(experiment, data, "cut") / "hyp.asr").read_text()
    (folder / "segments").unlink()
    (folder / "wav.scp").write_text(f"a {data / 'utt4.wav'}\nb {data / 'b.wav'}\n")
    assert (decode(experiment, data, "plain") / "hyp.asr").read_text() == cut


def test_a_run_that_was_ended_goes_on(experiment, data, monkeypatch):
    whole = decode(experiment, data, "whole")
    (data / "decode.yaml").write_text("beam_size: 2\nmaxlenratio: -5\nbatch_size: 1\n")
    monkeypatch.setattr("espnet_smoe.inference.decode.driver.GROUP", 1)
    decoded = []
    whole_texts = SMoESpeechToText.recognize_long

    def ended(self, waves, labels, tasks, names, *more):
        if len(decoded) == 3:
            raise OSError(28, "No space left on device")
        decoded.extend(name.removeprefix("utterance ") for name in names)
        return whole_texts(self, waves, labels, tasks, names, *more)

    monkeypatch.setattr(SMoESpeechToText, "recognize_long", ended)
    with pytest.raises(OSError, match="No space left"):
        decode(experiment, data, "out")
    assert not (data / "out/hyp.asr").exists()
    half = next((data / "out/partial").glob("*.jsonl"))
    text = half.read_text() + '{"texts": {"asr": {"utt3'  # cut off
    half.rename(half.with_name("another_process.jsonl")).write_text(text)
    decoded.append("end")
    out = decode(experiment, data, "out")
    assert decoded == [*list(UTTERANCES)[:3], "end", *list(UTTERANCES)[3:]]
    for task in ("asr", "st"):
        name = f"hyp.{task}"
        assert (out / name).read_text() == (whole / name).read_text()
    summary = json.loads((out / "decode.json").read_text())
    assert summary["audio_seconds"] == pytest.approx(sum(UTTERANCES.values()))
    assert not (out / "partial").exists()


def test_what_other_options_have_decoded_does_not_count(experiment, data):
    journal = Journal.of(data / "out", {"beam_size": 99})
    journal.add(DecodedPart({"asr": {"utt0": "wrong"}, "st": {"utt0": "wrong"}}))
    out = decode(experiment, data, "out")
    assert "wrong" not in (out / "hyp.asr").read_text()


def test_details_have_confidences_and_alternatives(experiment, data):
    (data / "decode.yaml").write_text("beam_size: 3\nmaxlenratio: -5\nnbest: 3\n")
    out = decode(experiment, data, "out")
    lines = (out / "details.asr.jsonl").read_text().splitlines()
    records = {r["utterance"]: r for r in map(json.loads, lines)}
    assert list(records) == list(UTTERANCES)
    hyps = dict(x.split(" ", 1) for x in (out / "hyp.asr").read_text().splitlines())
    for name, record in records.items():
        assert 0 <= record["confidence"] <= 1
        assert len(record["nbest"]) == 3 and record["nbest"][0]["text"] == hyps[name]


def test_each_configuration_has_its_own_bandwidth(experiment, data):
    (data / "data/utt2bandwidth").unlink()
    configs = []
    for label in ("nb", "wb"):
        configs.append(str(data / f"decode_{label}.yaml"))
        text = f"beam_size: 2\nmaxlenratio: -5\nbandwidth: {label}\n"
        (data / f"decode_{label}.yaml").write_text(text)
    decode(experiment, data, "both/{decoding}", "--config", *configs)
    details = []
    for label, config in zip(("nb", "wb"), configs):
        decode(experiment, data, label, "--config", config)
        details.append((data / label / "details.asr.jsonl").read_text())
        assert (data / "both" / label / "details.asr.jsonl").read_text() == details[-1]
    assert details[0] != details[1]


def test_an_utterance_without_speech_has_an_empty_text(experiment, data):
    soundfile.write(data / "utt1.wav", not_speech(2.0)["white at -30 dB"], 16000)
    out = decode(experiment, data, "out")
    assert "utt1 \n" in (out / "hyp.asr").read_text()
    (data / "decode.yaml").write_text("detect_speech: false\nmaxlenratio: -5\n")
    out = decode(experiment, data, "kept")
    assert "utt1 \n" not in (out / "hyp.asr").read_text()


SPOKEN = {
    "asr": {"target": "text", "prompt": ["<transcribe>", "<ko>"], "spoken": "ko"},
    "st": {"target": "text_st", "prompt": ["<translate>", "<en>"]},
}


@pytest.fixture(scope="module")
def speaking(tmp_path_factory):
    """An experiment whose prompt names the spoken language."""
    folder = tmp_path_factory.mktemp("speaking")
    config = tiny_config(folder)
    config["model_conf"] = {**config["model_conf"], "tasks": SPOKEN}
    return save_experiment(folder, config)


IN_LANGUAGE = "beam_size: 2\nmaxlenratio: -5\nnbest: 2\n"


def scores_in(out):
    """Score of each transcript."""
    lines = map(json.loads, (out / "details.asr.jsonl").read_text().splitlines())
    return {r["utterance"]: r["nbest"][0]["score"] for r in lines}


def test_each_utterance_is_decoded_in_its_language(speaking, data):
    (data / "decode.yaml").write_text(IN_LANGUAGE)
    (data / "data/utt2lang").write_text("utt1 en\nutt3 en\nutt4 ko\n")
    mixed = scores_in(decode(speaking, data, "mixed", "--nj", "2"))
    (data / "data/utt2lang").unlink()
    own = scores_in(decode(speaking, data, "own"))
    (data / "decode.yaml").write_text(IN_LANGUAGE + "language: en\n")
    english = scores_in(decode(speaking, data, "english"))
    assert all(abs(own[utt] - english[utt]) > 0.01 for utt in UTTERANCES)
    for utt in UTTERANCES:
        expected = english if utt in ("utt1", "utt3") else own
        assert mixed[utt] == pytest.approx(expected[utt], abs=1e-3)


def test_texts_in_another_language_do_not_count_as_done(speaking, data, monkeypatch):
    (data / "decode.yaml").write_text(IN_LANGUAGE)
    whole = scores_in(decode(speaking, data, "whole"))
    (data / "data/utt2lang").write_text("".join(f"{u} en\n" for u in UTTERANCES))
    with monkeypatch.context() as patch:  # ended before its results are written
        patch.setattr("espnet_smoe.inference.decode.driver.write_results", None)
        with pytest.raises(TypeError):
            decode(speaking, data, "out")
    (data / "data/utt2lang").unlink()
    assert scores_in(decode(speaking, data, "out")) == whole


@pytest.mark.parametrize(
    "kind, language, message",
    [
        ("speaking", "xy", "language xy: the model knows no language <xy>"),
        ("speaking", "transcribe", "the model knows no language <transcribe>"),
        (
            "experiment",
            "xy",
            "language xy: no prompt of this model names the spoken language",
        ),
    ],
)
def test_a_language_that_nobody_knows_is_named(request, data, kind, language, message):
    options = f"beam_size: 2\nmaxlenratio: -5\nlanguage: {language}\n"
    (data / "decode.yaml").write_text(options)
    with pytest.raises(ValueError, match=message):
        decode(request.getfixturevalue(kind), data, "out")
