"""SpeechToText loads what fits, decodes what it is asked for, and says why not."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from espnet_smoe.command import reason
from espnet_smoe.inference import SpeechToText
from espnet_smoe.inference.long_form.long_audio import decode_long, joined
from espnet_smoe.inference.streaming.recognizer import StreamingRecognizer
from espnet_smoe.pack.zip_file import write_zip
from espnet_smoe.slice.command import main as slice_main
from tests.inference.sounds import not_speech, talks_with_pauses
from tests.inference.tiny_u2pp import save_tiny_u2pp
from tests.tiny import save_experiment, talk, tiny_config

LIMIT = {"maxlenratio": -8, "beam_size": 3}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    return save_experiment(folder, tiny_config(folder))


@pytest.fixture(scope="module")
def speech_to_text(experiment):
    return SpeechToText(*experiment, **LIMIT)


def test_every_task_of_every_waveform(speech_to_text):
    results = speech_to_text([talk(0.5), talk(1.0, seed=1)], ["st", "asr"])
    assert [list(r) for r in results] == [["st", "asr"]] * 2
    result = results[0]["asr"]
    assert isinstance(result.text, str)
    assert result.score < 0
    assert not any(t.startswith("<") and t.endswith(">") for t in result.tokens)


def test_batch_gives_what_each_gives_alone(experiment):
    waves = [talk(0.4 + 0.17 * i, seed=i) for i in range(7)]
    labels = ["nb", "wb", "wb", "nb", "nb", "wb", "nb"]
    together = SpeechToText(*experiment, batch_size=4, **LIMIT)
    alone = SpeechToText(*experiment, batch_size=1, **LIMIT)
    found = together(waves, bandwidth=labels)
    for wave, label, batched in zip(waves, labels, found):
        (single,) = alone([wave], bandwidth=label)
        for task in ("asr", "st"):
            assert batched[task].tokens == single[task].tokens
            assert batched[task].score == pytest.approx(single[task].score, abs=1e-3)


def test_tasks_together_equal_each_alone(speech_to_text):
    both = speech_to_text([talk(1)])[0]
    for task in ("asr", "st"):
        alone = speech_to_text([talk(1)], [task])[0]
        assert list(alone) == [task]
        assert alone[task].tokens == both[task].tokens


def test_bandwidth_chooses_the_expert(speech_to_text):
    wide, narrow = speech_to_text([talk(1)] * 2, ["asr"], ["wb", "nb"])
    assert wide["asr"].score != pytest.approx(narrow["asr"].score, abs=1e-4)
    auto = speech_to_text([talk(1, rate=8000)], ["asr"], "auto", sample_rate=8000)
    told = speech_to_text([talk(1, rate=8000)], ["asr"], "nb", sample_rate=8000)
    assert auto == told


def test_ctc_scores_the_transcript_alone(experiment):
    plain = SpeechToText(*experiment, **LIMIT)([talk(1)])[0]
    heard = SpeechToText(*experiment, ctc_weight=0.3, **LIMIT)([talk(1)])[0]
    assert heard["st"] == plain["st"]
    assert heard["asr"].score != plain["asr"].score


def test_experts_in_int8_score_a_little_otherwise(experiment):
    whole, int8 = (
        SpeechToText(*experiment, int8=on, **LIMIT)([talk(1)])[0]
        for on in (False, True)
    )
    for task in ("asr", "st"):
        assert int8[task].score != whole[task].score
        assert int8[task].score == pytest.approx(whole[task].score, rel=0.05)


def test_nbest_is_sorted(experiment):
    result = SpeechToText(*experiment, nbest=3, **LIMIT)([talk(1)])[0]["asr"]
    scores = [score for _, score in result.nbest]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert result.nbest[0] == (result.text, result.score)


@pytest.mark.parametrize("decoder", ["transformer", "smoe_transformer"])
def test_dense_and_stock_decoders_serve_too(tmp_path, decoder):
    config = tiny_config(tmp_path, moe=False, decoder=decoder)
    found = SpeechToText(*save_experiment(tmp_path, config), **LIMIT)([talk(1)])
    assert set(found[0]) == {"asr", "st"}


def test_stock_and_own_decoder_find_the_same(tmp_path):
    found = []
    for decoder in ("transformer", "smoe_transformer"):
        config = tiny_config(tmp_path, moe=False, decoder=decoder)
        files = save_experiment(tmp_path / decoder, config)
        if found:  # the same weights
            files = (files[0], tmp_path / "transformer/model.pth")
        found.append(SpeechToText(*files, ctc_weight=0.3, **LIMIT)([talk(1)])[0])
    for task in ("asr", "st"):
        assert found[0][task].tokens == found[1][task].tokens
        assert found[0][task].score == pytest.approx(found[1][task].score, abs=1e-4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"tasks": ["asr", "sta"]}, r"unknown task 'sta', did you mean 'st'.*asr, st"),
        ({"bandwidth": "nbb"}, r"unknown bandwidth 'nbb', did you mean 'nb'.*auto"),
        ({"waveforms": [np.zeros(0)]}, "waveform 0: the audio is empty"),
        ({"waveforms": [np.full(16000, np.nan)]}, "waveform 0: .*NaN"),
        ({"waveforms": [np.zeros((2, 16000))]}, "waveform 0: .*mono"),
        ({"waveforms": np.zeros((16000, 2))}, "waveform 0: .*mono"),
        ({"waveforms": "talk.wav"}, "got the path 'talk.wav'.*read_audio"),
        ({"waveforms": [Path("talk.wav")]}, "waveform 0: got the path 'talk.wav'"),
        ({"waveforms": None}, "waveforms: got None"),
        ({"waveforms": [talk(1) * 32768]}, "waveform 0: .*full scale"),
        ({"sample_rate": 16}, "waveform 0: .*give it in Hz"),
        ({"sample_rate": "16000"}, "waveform 0: .*number of Hz"),
        ({"bandwidth": ["nb", "wb"]}, "2 values of bandwidth for 1"),
        ({"names": ["a", "b"]}, "2 values of names for 1"),
    ],
)
def test_bad_request_is_refused(speech_to_text, arguments, message):
    with pytest.raises(ValueError, match=message):
        speech_to_text(**{"waveforms": [talk(1)]} | arguments)


@pytest.mark.parametrize(
    "form",
    [
        lambda wave: wave,
        lambda wave: torch.from_numpy(wave),
        lambda wave: wave.tolist(),
        lambda wave: wave[None],
        lambda wave: [wave[:, None]],
        lambda wave: np.round(wave * 32768).astype(np.int16),
        lambda wave: (wave for wave in [wave]),
    ],
    ids=["array", "tensor", "list", "row", "column", "int16", "generator"],
)
def test_one_recording_in_any_form_has_one_answer(speech_to_text, form):
    wave = np.round(talk(1) * 20000) / np.float32(32768)
    (wanted,) = speech_to_text([wave], ["asr"])
    (found,) = speech_to_text(form(wave), "asr", sample_rate=np.int64(16000))
    assert found["asr"].tokens == wanted["asr"].tokens
    assert found["asr"].score == wanted["asr"].score
    assert list(found) == ["asr"]


def change(experiment, folder, edit):
    """A copy of the checkpoint with something wrong."""
    weights = torch.load(experiment[1], weights_only=True)
    edit(weights)
    torch.save(weights, folder / "changed.pth")
    return experiment[0], folder / "changed.pth"


BIAS = "decoder.output_layer.bias"


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda w: w.pop(BIAS), rf"missing: {BIAS}"),
        (lambda w: w.update(extra=torch.zeros(1)), "foreign: extra"),
        (lambda w: w.update({BIAS: torch.zeros(3)}), rf"{BIAS} \(3,\), not \(300,\)"),
    ],
    ids=["missing", "foreign", "shape"],
)
def test_checkpoint_that_does_not_fit_is_refused(experiment, tmp_path, edit, message):
    with pytest.raises(ValueError, match=f"changed.pth does not fit.*{message}"):
        SpeechToText(*change(experiment, tmp_path, edit))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["frontend_conf"].update(window="x"), "built: .*window"),
        (lambda c: c["frontend_conf"].update(new=1), "unexpected keyword.* 'new'"),
        (lambda c: c["encoder_conf"].update(new=1), "encoder_conf: unknown key 'new'"),
        (lambda c: c.pop("specaug"), "the configuration has no 'specaug'"),
        (lambda c: c.update(encoder="new"), "built: .*--encoder new"),
    ],
)
def test_a_configuration_of_another_version_is_said_in_a_line(
    experiment, tmp_path, change, said
):
    shutil.copytree(Path(experiment[0]).parent, tmp_path / "exp")
    path = tmp_path / "exp/config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=f"the configuration of .*{said}") as raised:
        SpeechToText.load(tmp_path / "exp")
    assert "\n" not in reason(raised.value)
    words = ["--model", str(path.parent), "--label", "<nb>", "--out"]
    with pytest.raises(ValueError, match=said):
        slice_main([*words, str(tmp_path / "slice")])


def test_checkpoint_that_runs_code_is_refused(experiment, tmp_path):
    torch.save({"a": SpeechToText}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="bad.pth: not a checkpoint of weights"):
        SpeechToText(experiment[0], tmp_path / "bad.pth")


@pytest.mark.parametrize("name", ["model.pth", "config.yaml"])
def test_missing_file_is_named(experiment, tmp_path, name):
    files = [tmp_path / name if f.name == name else f for f in experiment]
    with pytest.raises(ValueError, match=f"{name} does not exist"):
        SpeechToText(*files)


def test_relative_paths_count_from_here_or_from_the_configuration(
    experiment, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load(experiment[0].read_text())
    config["bpemodel"] = "data/bpe.json"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="bpemodel names data/bpe.json"):
        SpeechToText("config.yaml", experiment[1])
    pieces = (experiment[0].parent / "bpe.json").read_text()
    (tmp_path / "bpe.json").write_text(pieces)  # beside the configuration
    SpeechToText("config.yaml", experiment[1])
    (tmp_path / "data").mkdir()
    (tmp_path / "bpe.json").rename(tmp_path / "data/bpe.json")
    SpeechToText("config.yaml", experiment[1])


def test_packed_model_decodes_like_its_folder(experiment, tmp_path, speech_to_text):
    write_zip(*map(Path, experiment), tmp_path / "m.zip")
    (expected,) = speech_to_text([talk(1)])
    for path in (tmp_path / "m.zip", experiment[0].parent):
        assert SpeechToText.from_pretrained(path, **LIMIT)([talk(1)])[0] == expected


def test_a_model_decodes_as_the_yaml_beside_it_says(experiment, tmp_path):
    folder = tmp_path / "exp"
    shutil.copytree(Path(experiment[0]).parent, folder)
    short = {"maxlenratio": -2, "beam_size": 2}
    (folder / "decode.yaml").write_text(yaml.safe_dump(short))
    loaded = SpeechToText.load(folder)
    assert loaded.options.maxlenratio == -2 and loaded.options.beam_size == 2
    assert SpeechToText.load(folder, beam_size=3).options.beam_size == 3
    assert len(loaded([talk(1)])[0]["asr"].tokens) <= 2
    model = folder / Path(experiment[1]).name
    write_zip(folder / "config.yaml", model, tmp_path / "m.zip")
    assert SpeechToText.load(tmp_path / "m.zip").options.maxlenratio == -2
    assert SpeechToText(*experiment).options.maxlenratio == 0  # of its files alone


def test_tasks_and_bandwidth_of_the_options_are_those_of_a_call_without(experiment):
    own = {"tasks": ["st"], "bandwidth": "nb"}
    found = SpeechToText(*experiment, **own, **LIMIT)([talk(1)])
    plain = SpeechToText(*experiment, **LIMIT)
    assert found == plain([talk(1)], "st", "nb") != plain([talk(1)], "st")
    asked = SpeechToText(*experiment, **own, **LIMIT)([talk(1)], "asr", "auto")
    assert asked == plain([talk(1)], "asr")


@pytest.mark.parametrize("kind", ["smoe", "u2pp"])
def test_a_model_of_another_sampling_rate_is_refused(experiment, tmp_path, kind):
    if kind == "smoe":
        shutil.copytree(Path(experiment[0]).parent, tmp_path / kind)
    else:
        save_tiny_u2pp(tmp_path / kind)
    path = tmp_path / kind / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["frontend_conf"]["fs"] = "8k"
    path.write_text(yaml.safe_dump(config))
    said = f"{kind}/config.yaml: the model is for 8000 Hz"
    with pytest.raises(ValueError, match=said):
        SpeechToText.load(tmp_path / kind)
    if kind == "u2pp":
        with pytest.raises(ValueError, match=said):
            StreamingRecognizer.load(tmp_path / kind)


def test_keywords_beside_options_are_refused(experiment):
    options = SpeechToText(*experiment, **LIMIT).options
    with pytest.raises(ValueError, match="options and beam_size: give what"):
        SpeechToText(*experiment, options=options, beam_size=2)


def test_what_is_no_model_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist"):
        SpeechToText.from_pretrained(tmp_path / "nowhere")
    (tmp_path / "m.zip").write_bytes(b"zip?")
    with pytest.raises(ValueError, match="m.zip: not a packed model"):
        SpeechToText.from_pretrained(tmp_path / "m.zip")
    with pytest.raises(ValueError, match="holds none of model.safetensors, model.pth"):
        SpeechToText.from_pretrained(tmp_path)


def test_another_checkpoint_than_the_average_is_not_taken_unasked(tmp_path):
    (tmp_path / "valid.acc.best.pth").write_bytes(b"another")
    (tmp_path / "valid.acc.ave.pth").symlink_to("valid.acc.ave_10best.pth")
    with pytest.raises(ValueError, match="ave.pth is a link to valid.acc.ave_10best"):
        SpeechToText.load(tmp_path)


@pytest.mark.parametrize(
    "kind", ["digital zeros", "white at -30 dB", "clicks at -3 dB"]
)
def test_no_speech_no_text(speech_to_text, kind):
    (found,) = speech_to_text([not_speech(2.0)[kind]])
    assert {task: r.text for task, r in found.items()} == {"asr": "", "st": ""}
    assert found["asr"].confidence is None


def test_silence_is_decoded_where_that_is_asked_for(experiment):
    keeps = SpeechToText(*experiment, detect_speech=False, **LIMIT)
    (found,) = keeps([not_speech(2.0)["white at -30 dB"]])
    assert found["asr"].score < 0


def test_a_long_recording_has_the_texts_of_its_sentences(experiment):
    short = SpeechToText(*experiment, longest_seconds=3.0, **LIMIT)
    lengths = [1.5, 1.2, 2.0]
    whole = short([talks_with_pauses(lengths, 0.8)], bandwidth="wb")[0]
    pieces = decode_long(
        short, [talks_with_pauses(lengths, 0.8)], ["asr"], ["wb"], ["x"]
    )[0]
    assert len(pieces) == 3
    assert whole["asr"].text == joined("asr", pieces)
    assert whole["asr"].score == pytest.approx(
        sum(piece.results["asr"].score for piece in pieces)
    )
    times = [token.start for token in whole["asr"].timed]
    assert times == sorted(times) and times[-1] > 3.0


def test_speech_longer_than_in_training_is_warned_of(experiment, caplog):
    short = SpeechToText(*experiment, longest_seconds=2.0, **LIMIT)
    short([talk(5.0)], ["asr"], names=["talk.wav"])
    assert "talk.wav: at 1." in caplog.text and "without a pause" in caplog.text


def test_each_text_has_a_confidence(speech_to_text):
    (found,) = speech_to_text([talk(1)])
    for result in found.values():
        assert result.text and 0 <= result.confidence <= 1
    timed = [token.confidence for token in found["asr"].timed]
    assert found["asr"].confidence == pytest.approx(np.mean(timed) if timed else 0)
