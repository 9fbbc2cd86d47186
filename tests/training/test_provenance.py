"""What an experiment was made from: read, compared, told."""

import json

import pytest

from espnet_smoe.training import provenance
from espnet_smoe.training.provenance import differences, features, of_audio


def record(**config):
    return {"config": config, "tokens": {}, "data": {}, "code": {}}


def test_the_same_options_written_otherwise_are_the_same():
    old = provenance.compared({"optim_conf": {"lr": "1e-3", "betas": (0.9, 1)}})
    new = provenance.compared({"optim_conf": {"betas": [0.9, 1.0], "lr": 0.001}})
    assert differences(record(**old), record(**new), "config") == []


@pytest.mark.parametrize(
    ("old", "new"),
    [(0.1, 0.2), (1, True), (None, 0), ("a", "b"), ([1, 2], [2, 1]), ([1], 1)],
)
def test_another_value_is_a_difference(old, new):
    (found,) = differences(record(x=old), record(x=new), "config")
    assert found.key == "x"


def test_nested_options_are_named_by_their_path():
    old, new = (
        record(**provenance.compared({"encoder_conf": {"moe": {"top_k": k}}}))
        for k in (1, 2)
    )
    (found,) = differences(old, new, "config")
    assert str(found) == "encoder_conf.moe.top_k: 1 -> 2"


def test_how_long_and_where_a_training_runs_is_free():
    free = {
        *("max_epoch", "patience", "ngpu", "num_workers", "log_interval"),
        *("keep_nbest_models", "output_dir", "dist_world_size", "wandb_name"),
        *("token_list", "train_shape_file"),
    }
    assert provenance.compared(dict.fromkeys(free, 3)) == {}
    assert set(provenance.compared({"seed": 1, "batch_bins": 2, "accum_grad": 3})) == {
        *("seed", "batch_bins", "accum_grad")
    }


def test_many_differences_are_counted_not_listed():
    old, new = record(**dict.fromkeys(map(str, range(40)), 0)), record()
    lines = provenance.listed(differences(old, new, "config")).splitlines()
    assert len(lines) == provenance.LISTED + 1
    assert lines[-1] == "  and 30 more"


def test_statistics_depend_on_features_and_not_on_the_model():
    whole = record(
        **{"frontend_conf.n_mels": 80, "encoder": "x", "model_conf.ctc_weight": 0.3}
    )
    assert features(whole)["config"] == {"frontend_conf.n_mels": 80}


@pytest.fixture
def corpus(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(name.encode() * 100)
    table = tmp_path / "wav.scp"
    table.write_text(f"a {tmp_path}/a.wav\nb {tmp_path}/b.wav\n")
    return table


def test_a_moved_corpus_is_the_same_corpus(corpus, tmp_path):
    known = of_audio(corpus)
    (tmp_path / "new").mkdir()
    for name in "ab":
        (tmp_path / f"{name}.wav").rename(tmp_path / "new" / f"{name}.wav")
    corpus.write_text(corpus.read_text().replace(f"{tmp_path}/", f"{tmp_path}/new/"))
    assert of_audio(corpus) == known


def test_other_recordings_of_the_same_names_are_other_data(corpus, tmp_path):
    known = of_audio(corpus)
    (tmp_path / "b.wav").write_bytes(b"c" * 100)
    assert of_audio(corpus) != known


def test_other_lengths_are_other_data(corpus, tmp_path):
    (tmp_path / "utt2num_samples").write_text("a 100\nb 100\n")
    known = of_audio(corpus)
    (tmp_path / "utt2num_samples").write_text("a 100\nb 200\n")
    assert of_audio(corpus) != known


def test_a_recording_that_is_a_pipe_is_compared_by_its_command(corpus):
    corpus.write_text("a sox a.mp3 -t wav - |\n")
    known = of_audio(corpus)
    corpus.write_text("a sox b.mp3 -t wav - |\n")
    assert of_audio(corpus) != known


def test_tokens_in_a_file_equal_the_list_that_config_yaml_holds(tmp_path):
    (tmp_path / "tokens.txt").write_text("<blank>\n가\n\u3000\n<sos/eos>\n")
    tokens = ["<blank>", "가", "\u3000", "<sos/eos>"]
    assert provenance.of_tokens(tmp_path / "tokens.txt") == provenance.of_tokens(tokens)


def test_a_record_is_read_as_it_was_written(tmp_path):
    assert provenance.read(tmp_path) is None
    provenance.write(tmp_path / "new", record(x=1))
    assert provenance.read(tmp_path / "new") == record(x=1)
    assert [p.name for p in (tmp_path / "new").iterdir()] == [provenance.RECORD]


@pytest.mark.parametrize("content", ["", '{"config"', "[]", '{"config": 3}'])
def test_a_damaged_record_is_named_with_its_cure(tmp_path, content):
    (tmp_path / provenance.RECORD).write_text(content)
    with pytest.raises(ValueError, match="provenance.json is damaged .* remove it"):
        provenance.read(tmp_path)


@pytest.fixture
def decoded(tmp_path, corpus):
    """An experiment that has decoded the corpus."""
    folder = tmp_path / "exp" / "decode_default" / "test"
    folder.mkdir(parents=True)
    model = tmp_path / "exp" / "model.pth"
    model.write_bytes(b"weights")
    made_of = provenance.of_decoding(model, corpus.parent)
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
