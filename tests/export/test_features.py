"""A model whose features a runtime cannot compute is refused; says what to train on."""

from types import SimpleNamespace

import pytest
from torch import nn

from espnet_smoe.compat import DefaultFrontend
from espnet_smoe.export.features import SHERPA_CTC, SHERPA_WHISPER, WENET
from espnet_smoe.export.write import export_model
from espnet_smoe.layers.kaldi_fbank import KaldiFbank
from espnet_smoe.layers.whisper import WhisperFrontend
from tests.inference.tiny_u2pp import tiny_u2pp


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


def test_other_kinds_of_model_are_named():
    with pytest.raises(ValueError, match="Identity has no place .* 'model: u2pp' and"):
        export_model(nn.Identity(), "unused", "sherpa-onnx")
