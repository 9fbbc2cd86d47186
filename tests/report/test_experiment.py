import pytest

from espnet_smoe.report.experiment import (
    decode_info,
    parameters,
    training_seconds,
)

EPOCH = "[h] 2026-01-01 10:0{e}:00,5 (t:3) INFO: {e}epoch results: [train] time={t}\n"


def test_training_time_is_the_sum_of_the_epochs(recipe):
    experiment = recipe.experiment("base", error=0.1)
    assert training_seconds(experiment) == pytest.approx(57.5 + 62 + 2 * 2.5)


@pytest.mark.parametrize(
    "timespan, seconds",
    [
        ("42.31 seconds", 42.31),
        ("1 second", 1),
        ("1 minute and 4.2 seconds", 64.2),
        ("2 hours, 3 minutes and 4 seconds", 7384),
        ("1 day, 1 hour and 1 minute, total_count=7", 90060),
    ],
)
def test_every_timespan_of_espnet_is_understood(tmp_path, timespan, seconds):
    (tmp_path / "train.log").write_text(EPOCH.format(e=1, t=timespan))
    assert training_seconds(tmp_path) == pytest.approx(seconds)


def test_resumed_training_counts_each_epoch_once(tmp_path):
    old = EPOCH.format(e=1, t="10 seconds") + EPOCH.format(e=2, t="20 seconds")
    new = EPOCH.format(e=2, t="21 seconds") + EPOCH.format(e=3, t="30 seconds")
    (tmp_path / "train.1.log").write_text(old)
    (tmp_path / "train.log").write_text(new)
    assert training_seconds(tmp_path) == 61


def test_log_without_epochs_gives_its_span_if_training_finished(tmp_path):
    log = tmp_path / "train.log"
    log.write_text(
        "[h] 2026-01-01 10:00:00,000 (a:1) INFO: start\nnoise\n"
        "[h] 2026-01-01 11:01:30,000 (a:1) INFO: The training was finished at 3\n"
    )
    assert training_seconds(tmp_path) == 3690
    log.write_text("[h] 2026-01-01 10:00:00,000 (a:1) INFO: start\n\xff")
    assert training_seconds(tmp_path) is None


def test_train_time_json_wins(recipe):
    experiment = recipe.experiment("base", error=0.1)
    (experiment / "train_time.json").write_text('{"seconds": 7.5}')
    assert training_seconds(experiment) == 7.5


def test_unknown_facts_are_none(tmp_path):
    assert parameters(tmp_path) == (None, None)
    assert training_seconds(tmp_path) is None
    assert decode_info(tmp_path) == {}


def test_broken_json_names_the_file_and_the_cure(tmp_path):
    (tmp_path / "params.json").write_text("{")
    with pytest.raises(ValueError, match=r"params\.json is not JSON .*stage 11"):
        parameters(tmp_path)
