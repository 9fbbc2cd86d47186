"""Stage 12 of u2pp.sh: every way to decode at every chunk size, in one process."""

import json

import pytest
import soundfile
import torch

from espnet_smoe.inference.decode import driver
from espnet_smoe.inference.decode.decodings import decodings_of
from espnet_smoe.inference.decode.driver import main
from espnet_smoe.inference.decode.journal import Journal
from espnet_smoe.inference.recognizers.u2pp import U2PPSpeechToText
from espnet_smoe.inference.runtime import quantize
from espnet_smoe.inference.search import searches as built_in
from espnet_smoe.inference.search.ctc_prefix import greedy
from tests.inference.tiny_u2pp import TOKENS, save_tiny_u2pp, tiny_u2pp
from tests.tiny import talk

SEARCHES = ("greedy", "prefix_beam", "attention", "rescoring")
SECONDS = {f"utt{i}": 0.7 + 0.3 * i for i in range(4)}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return save_tiny_u2pp(tmp_path_factory.mktemp("exp"))


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "test"
    folder.mkdir()
    for i, (name, seconds) in enumerate(SECONDS.items()):
        soundfile.write(folder / f"{name}.wav", talk(seconds, i), 16000, "FLOAT")
    lines = [f"{name} {folder / name}.wav\n" for name in SECONDS]
    (folder / "wav.scp").write_text("".join(lines))
    for search in SEARCHES:
        text = f"search: {search}\nbeam_size: 3\nctc_weight: 0.2\n"
        (tmp_path / f"decode_{search}.yaml").write_text(text)
    return folder


def decode(experiment, data, searches, *more):
    configs = [str(data.parent / f"decode_{search}.yaml") for search in searches]
    main(
        [
            *("--train-config", str(experiment / "config.yaml")),
            *("--model-file", str(experiment / "model.pth")),
            *(
                "--data",
                str(data),
                "--out",
                f"{data.parent}/x/decode_{{decoding}}/test",
            ),
            *("--config", *configs, *more),
        ]
    )
    return data.parent / "x"


def hypotheses(folder, task="asr"):
    lines = (folder / f"test/hyp.{task}").read_text().splitlines()
    return {line.split(" ")[0]: line.partition(" ")[2] for line in lines}


def greedy_of(data, name, **chunks) -> str:
    """What the model says of one utterance alone."""
    wave = torch.from_numpy(soundfile.read(data / f"{name}.wav", dtype="float32")[0])
    model = tiny_u2pp()
    with torch.inference_mode():
        encoded, _ = model.encode(wave[None], torch.tensor([len(wave)]), **chunks)
        log_probs = model.ctc.log_softmax(encoded)[0].numpy()
    return "".join(TOKENS[i] for i in greedy(log_probs))


def test_every_search_writes_every_utterance_at_every_chunk_size(experiment, data):
    out = decode(experiment, data, SEARCHES, "--chunk-size", "0", "4")
    folders = {f"decode_{s}_{c}" for s in SEARCHES for c in ("full", "chunk4")}
    assert {path.name for path in out.iterdir()} == folders
    for folder in folders:
        assert list(hypotheses(out / folder)) == list(SECONDS)
        summary = json.loads((out / folder / "test/decode.json").read_text())
        assert summary["search"] in folder and summary["tasks"] == ["asr"]
        assert summary["audio_seconds"] == pytest.approx(sum(SECONDS.values()))
        assert 0 <= summary["search_seconds"] < summary["compute_seconds"]
        assert summary["latency_seconds"]["utterances"] == len(SECONDS)
        assert summary["latency_seconds"]["p50"] > 0
        # a frame is four of 10 ms
        assert summary["chunk_seconds"] == summary["chunk_size"] * 0.04


def test_the_text_is_what_the_model_says_of_each_alone(experiment, data):
    out = decode(experiment, data, ["greedy"], "--chunk-size", "0", "2")
    for folder, chunk in (("decode_greedy_full", 0), ("decode_greedy_chunk2", 2)):
        said = {name: greedy_of(data, name, chunk_size=chunk) for name in SECONDS}
        assert hypotheses(out / folder) == said
        assert any(said.values())
    whole, chunks = (hypotheses(out / f"decode_greedy_{c}") for c in ("full", "chunk2"))
    assert whole != chunks


def test_chunks_of_a_model_that_cannot_stream_have_no_latency(tmp_path, data, capsys):
    whole = save_tiny_u2pp(tmp_path / "exp", normalize="utterance_mvn")
    out = decode(whole, data, ["greedy"], "--chunk-size", "0", "4")
    known = {
        name: json.loads((out / f"decode_greedy_{name}/test/decode.json").read_text())
        for name in ("full", "chunk4")
    }
    assert known["full"]["latency_seconds"]["p50"] > 0
    assert known["chunk4"]["latency_seconds"] is None
    assert "train with 'normalize: global_mvn'" in capsys.readouterr().out


def test_two_processes_share_the_utterances(experiment, data):
    one, two = (
        decode(experiment, data, ["greedy"], "--chunk-size", "4", "--nj", nj)
        / "decode_greedy_chunk4"
        for nj in "12"
    )
    wanted = hypotheses(one)
    assert hypotheses(two) == wanted
    summary = json.loads((two / "test/decode.json").read_text())
    assert summary["nj"] == 2
    assert summary["latency_seconds"]["utterances"] == len(SECONDS)


def test_left_chunks_limit_what_is_seen(experiment, data):
    (data.parent / "decode_greedy.yaml").write_text(
        "search: greedy\nchunk_size: 2\nleft_chunks: 1\n"
    )
    out = decode(experiment, data, ["greedy"])
    said = {
        name: greedy_of(data, name, chunk_size=2, left_chunks=1) for name in SECONDS
    }
    assert hypotheses(out / "decode_greedy_chunk2") == said


@pytest.mark.parametrize(("given", "used"), [("", 0.3), ("reverse_weight: 0.9\n", 0.9)])
def test_rescoring_weighs_as_told_or_as_trained(
    experiment, data, monkeypatch, given, used
):
    calls = []

    def spy(*args, **weights):
        calls.append(weights)
        return rescore(*args, **weights)

    rescore = built_in.rescore
    monkeypatch.setattr(built_in, "rescore", spy)
    (data.parent / "decode_rescoring.yaml").write_text(f"ctc_weight: 0.4\n{given}")
    decode(experiment, data, ["rescoring"])
    assert {(c["ctc_weight"], c["reverse_weight"]) for c in calls} == {(0.4, used)}


def test_batches_make_no_difference(experiment, data):
    whole = hypotheses(
        decode(experiment, data, ["rescoring"]) / "decode_rescoring_full"
    )
    with open(data.parent / "decode_rescoring.yaml", "a") as config:
        config.write("batch_size: 1\n")
    out = decode(experiment, data, ["rescoring"], "--task", "words")
    assert hypotheses(out / "decode_rescoring_full", "words") == whole


@pytest.mark.parametrize(
    ("conf", "more", "said"),
    [
        ("search: gredy\n", (), "'gredy' is not one of .* 'greedy'"),
        ("beem_size: 3\n", (), "unknown key 'beem_size', did you mean 'beam_size'"),
        ("- beam_size\n", (), "decode_greedy.yaml: expected 'key: value' lines"),
        ("beam_size: eight\n", (), "beam_size: 'eight' is not a whole number"),
        ("int8: 'no'\n", (), "int8: 'no' is not true or false"),
        ("search:\n", (), "search: None is not one of"),
        ("reverse_weight: 3\n", (), "reverse_weight: 3 is not a number from 0 to 1"),
        (
            "search: attention\nctc_weight: 1\n",
            (),
            "ctc_weight: 1.0 leaves the decoder no say",
        ),
        ("beam_size: 0\n", (), "beam_size: 0 is not a whole number of at least 1"),
        (
            "",
            ("--chunk-size", "-1"),
            "--chunk-size: chunk_size: -1 is not a whole number",
        ),
    ],
)
def test_what_is_misspelt_or_impossible_is_named(experiment, data, conf, more, said):
    (data.parent / "decode_greedy.yaml").write_text(conf)
    with pytest.raises(ValueError, match=said):
        decode(experiment, data, ["greedy"], *more)


def test_int8_is_an_option_of_a_decoding(experiment, data, monkeypatch):
    quantized = []
    monkeypatch.setattr(quantize, "quantize", lambda m: quantized.append(m) or m)
    (data.parent / "decode_int8.yaml").write_text("search: greedy\nint8: true\n")
    out = decode(experiment, data, ["greedy", "int8"])
    assert len(quantized) == 1
    told = json.loads((out / "decode_int8_full/test/decode.json").read_text())
    assert told["int8"] is True
    assert hypotheses(out / "decode_int8_full") == hypotheses(
        out / "decode_greedy_full"
    )


def test_an_utterance_that_cannot_be_read_is_named(experiment, data):
    (data / "utt1.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match="utterance utt1"):
        decode(experiment, data, ["greedy"])


def test_results_of_two_files_never_meet_in_one_folder(tmp_path):
    files = [tmp_path / name / "decode.yaml" for name in "ab"]
    for file in files:
        file.parent.mkdir()
        file.write_text("chunk_size: 8\n")
    assert list(decodings_of(U2PPSpeechToText, map(str, files[:1]))) == [
        "default_chunk8"
    ]
    told = "b/decode.yaml: another configuration decodes as 'default_chunk8'"
    with pytest.raises(ValueError, match=told):
        decodings_of(U2PPSpeechToText, map(str, files))


def test_the_command_line_takes_precedence_over_a_configuration(experiment, data):
    more = ("--beam_size", "2", "--ctc-weight=0.5")
    out = decode(experiment, data, ["rescoring"], *more)
    found = json.loads((out / "decode_rescoring_full/test/decode.json").read_text())
    assert (found["beam_size"], found["ctc_weight"]) == (2, 0.5)
    assert found["search"] == "rescoring"


@pytest.mark.parametrize(
    "words, message",
    [
        (["--beamsize", "2"], "--beamsize 2: unknown key 'beamsize', .*'beam_size'"),
        (["--beam_size"], "'--beam_size': write options of the search as --name value"),
        (["--beam_size", "0"], "--beam_size 0: beam_size: 0 .*1"),
    ],
)
def test_an_option_that_no_search_has_is_named(experiment, data, words, message):
    with pytest.raises(ValueError, match=message):
        decode(experiment, data, ["rescoring"], *words)


def test_an_utterance_too_long_for_attention_is_cut_and_told_of(
    experiment, data, caplog
):
    (data.parent / "decode_greedy.yaml").write_text(
        "search: greedy\nlongest_seconds: 1.5\n"
    )
    out = decode(experiment, data, ["greedy"]) / "decode_greedy_full"
    assert list(hypotheses(out)) == list(SECONDS)
    told = [r.getMessage() for r in caplog.records if "was cut" in r.getMessage()]
    assert len(told) == 1 and told[0].startswith("utterance utt3: ")


def test_utterances_that_were_decoded_are_not_decoded_again(
    experiment, data, monkeypatch
):
    (data.parent / "decode_greedy.yaml").write_text("search: greedy\nbatch_size: 1\n")
    monkeypatch.setattr(driver, "GROUP", 1)
    add, added = Journal.add, []

    def ended(self, share):
        added.extend(share.texts["asr"])
        if len(added) == 3:
            raise OSError(28, "No space left on device")
        add(self, share)

    monkeypatch.setattr(Journal, "add", ended)
    with pytest.raises(OSError, match="No space"):
        decode(experiment, data, ["greedy"], "--chunk-size", "0")
    out = decode(experiment, data, ["greedy"], "--chunk-size", "0")
    assert sorted(added[3:]) == sorted({*SECONDS} - {*added[:2]})
    said = {name: greedy_of(data, name, chunk_size=0) for name in SECONDS}
    assert hypotheses(out / "decode_greedy_full") == said
