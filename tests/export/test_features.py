"""A model whose features a runtime cannot compute is refused; says what to train on."""

from types import SimpleNamespace

import pytest
from torch import nn

from espnet_smoe.compat import DefaultFrontend
from espnet_smoe.export.command import main
from espnet_smoe.export.features import SHERPA_CTC, SHERPA_WHISPER, WENET
from espnet_smoe.export.write import WRITERS, export_model
from espnet_smoe.layers.kaldi_fbank import KaldiFbank
from espnet_smoe.layers.whisper import WhisperFrontend
from tests.export.tiny_smoe import save_smoe
from tests.inference.tiny_u2pp import save_tiny_u2pp, tiny_u2pp


def with_frontend(frontend, **parts):
    return SimpleNamespace(frontend=frontend, **parts)


@pytest.mark.parametrize(
    ("features", "frontend"),
    [
        (SHERPA_CTC, KaldiFbank(40, 1.0, snip_edges=False, high_freq=-400)),
        (SHERPA_WHISPER, WhisperFrontend(framing="kaldi", pad_seconds=30)),
        (WENET, KaldiFbank()),
    ],
)
def test_the_features_of_a_runtime_pass(features, frontend, caplog):
    features.check(with_frontend(frontend, preencoder=None))
    assert not caplog.records


@pytest.mark.parametrize(
    ("features", "frontend", "said"),
    [
        (
            SHERPA_CTC,
            DefaultFrontend(),
            "'DefaultFrontend': .* 'frontend: kaldi_fbank'",
        ),
        (SHERPA_CTC, None, "front-end 'none'"),
        (SHERPA_CTC, KaldiFbank(), "snip_edges is true.*snip_edges: false"),
        (SHERPA_CTC, KaldiFbank(snip_edges=False), "high_freq is 0.*high_freq: -400"),
        (WENET, KaldiFbank(snip_edges=False), "WeNet's runtime cannot"),
        (SHERPA_WHISPER, KaldiFbank(), "frontend: smoe_whisper.*framing: kaldi"),
    ],
)
def test_other_features_are_refused(features, frontend, said):
    with pytest.raises(ValueError, match=said) as error:
        features.check(with_frontend(frontend))
    assert "\n" not in str(error.value)


def test_whispers_own_frames_pass_with_a_warning(caplog):
    SHERPA_WHISPER.check(with_frontend(WhisperFrontend()))
    assert "framing is whisper" in caplog.text and "framing: kaldi" in caplog.text


def test_parts_between_features_and_encoder_are_refused():
    model = with_frontend(KaldiFbank(), preencoder=nn.Identity())
    with pytest.raises(ValueError, match="preencoder has no place"):
        WENET.check(model)


@pytest.mark.parametrize("kind", ["sherpa-onnx", "wenet"])
def test_nothing_is_written_of_a_model_that_is_refused(tmp_path, kind):
    with pytest.raises(ValueError, match="train with 'frontend: kaldi_fbank'"):
        export_model(tiny_u2pp(), tmp_path / "out", kind)
    assert not (tmp_path / "out").exists()


def test_torchscript_has_no_int8(tmp_path):
    with pytest.raises(ValueError, match="--int8 is for ONNX"):
        export_model(tiny_u2pp(), tmp_path / "out", "torchscript", int8=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "words", "said"),
    [
        ("u2pp", "--bandwidth nb", "--bandwidth nb: no expert of this model's"),
        ("smoe", "--chunk-size 8", "--chunk-size is for U2.. models"),
        ("smoe", "--left-chunks 2", "--left-chunks is for U2.. models"),
    ],
)
def test_an_option_without_an_effect_is_refused(tmp_path, model, words, said):
    if model == "u2pp":
        save_tiny_u2pp(tmp_path / "exp")
    else:
        save_smoe(tmp_path / "exp", "ours")
    given = ["--model", str(tmp_path / "exp"), "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match=said):
        main([*given, *words.split()])
    assert not (tmp_path / "out").exists()


def test_an_export_that_ends_early_leaves_the_one_before(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("encoder_chunk.pt", "ctc.int8.onnx", "mine.txt"):
        (out / name).write_text("before")

    def stopped(graph, path):
        path.write_bytes(b"half")
        if graph.name == "ctc":
            raise KeyboardInterrupt

    before = sorted(path.name for path in out.iterdir())
    monkeypatch.setitem(WRITERS, "torchscript", (".pt", stopped))
    with pytest.raises(KeyboardInterrupt):
        export_model(tiny_u2pp(), out, "torchscript")
    assert sorted(path.name for path in out.iterdir()) == before
    assert (out / "encoder_chunk.pt").read_text() == "before"

    def whole(graph, path):
        path.write_bytes(b"whole")

    (out / "encoder_chunk.pt").unlink()  # of another format
    monkeypatch.setitem(WRITERS, "onnx", (".onnx", whole))
    export_model(tiny_u2pp(), out)
    assert not (out / "ctc.int8.onnx").exists()  # of the model before
    assert (out / "ctc.onnx").read_bytes() == b"whole" and (out / "mine.txt").exists()


def test_other_kinds_of_model_are_named():
    with pytest.raises(ValueError, match="Identity has no place .* 'model: u2pp' and"):
        export_model(nn.Identity(), "unused", "sherpa-onnx")
