"""What an experiment was made from: read, compared, told."""

import pytest

from espnet_smoe.training import provenance
from espnet_smoe.training.provenance import differences, features


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


def test_a_record_is_read_as_it_was_written(tmp_path):
    assert provenance.read_record(tmp_path) is None
    provenance.write_record(tmp_path / "new", record(x=1))
    assert provenance.read_record(tmp_path / "new") == record(x=1)
    assert [p.name for p in (tmp_path / "new").iterdir()] == [provenance.RECORD]


@pytest.mark.parametrize("content", ["", '{"config"', "[]", '{"config": 3}'])
def test_a_damaged_record_is_named_with_its_cure(tmp_path, content):
    (tmp_path / provenance.RECORD).write_text(content)
    with pytest.raises(ValueError, match="provenance.json is damaged .* remove it"):
        provenance.read_record(tmp_path)
