"""Texts of an earlier model, or of other recordings, are found out."""

import json

import pytest

from espnet_smoe.inference.decode import provenance


@pytest.fixture
def corpus(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(name.encode() * 100)
    table = tmp_path / "wav.scp"
    table.write_text(f"a {tmp_path}/a.wav\nb {tmp_path}/b.wav\n")
    return table


@pytest.fixture
def decoded(tmp_path, corpus):
    """An experiment that has decoded the corpus."""
    folder = tmp_path / "exp" / "decode_default" / "test"
    folder.mkdir(parents=True)
    model = tmp_path / "exp" / "model.pth"
    model.write_bytes(b"weights")
    made_of = provenance.decoding_inputs(model, corpus.parent)
    (folder / "decode.json").write_text(json.dumps(made_of))
    return folder


def test_texts_of_the_model_beside_them_are_current(decoded):
    assert provenance.outdated(decoded) is None


def test_texts_of_an_earlier_model_are_refused(decoded):
    (decoded.parents[1] / "model.pth").write_bytes(b"other weights")
    with pytest.raises(ValueError, match="another model .* run stage 12"):
        provenance.check_decoding(decoded)


def test_texts_of_other_recordings_are_refused(decoded, corpus):
    corpus.write_text(corpus.read_text() + "c c.wav\n")
    with pytest.raises(ValueError, match="other recordings"):
        provenance.check_decoding(decoded)


def test_a_copied_experiment_is_compared_with_its_own_model(decoded, tmp_path):
    copy = tmp_path / "copy"
    (tmp_path / "exp").rename(copy)
    (copy / "model.pth").write_bytes(b"other weights")
    assert "copy/model.pth" in provenance.outdated(copy / "decode_default" / "test")


def test_a_decoding_without_fingerprints_is_taken_as_it_is(decoded):
    (decoded / "decode.json").write_text('{"rtf": 0.1}')
    assert provenance.outdated(decoded) is None
