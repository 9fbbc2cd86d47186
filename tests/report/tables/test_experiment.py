import pytest

from espnet_smoe.report.tables.experiment import (
    decode_info,
    multiply_accumulates,
    parameters,
    read_json,
    read_scores,
    scored,
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
        ("2 weeks, 3 days and 1 hour", (17 * 24 + 1) * 3600),
        ("1 year, 2 weeks and 3 days", (54 * 7 + 3) * 24 * 3600),
    ],
)
def test_every_timespan_of_espnet_is_understood(tmp_path, timespan, seconds):
    (tmp_path / "train.log").write_text(EPOCH.format(e=1, t=timespan))
    assert training_seconds(tmp_path) == pytest.approx(seconds, rel=1e-9)


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


def test_the_span_is_from_the_first_stamp_to_the_last_of_all_logs(tmp_path):
    stamp = "[h] 2026-01-0{day} 10:00:0{second},000 (a:1) INFO: {what}\n"
    (tmp_path / "train.1.log").write_text(stamp.format(day=1, second=0, what="start"))
    later = [(2, 3, "go on"), (3, 5, "The training was finished")]
    lines = [stamp.format(day=d, second=s, what=w) for d, s, w in later]
    (tmp_path / "train.log").write_text("".join(lines))
    assert training_seconds(tmp_path) == 2 * 24 * 3600 + 5
    (tmp_path / "train.1.log").unlink()
    (tmp_path / "train.log").write_text(lines[0] * 2)  # it has not finished
    assert training_seconds(tmp_path) is None
    (tmp_path / "train.log").write_text(lines[1])  # one stamp has no span
    assert training_seconds(tmp_path) is None
    (tmp_path / "train.log").write_text("The training was finished\n")
    assert training_seconds(tmp_path) is None


def test_logs_are_read_from_the_oldest_to_the_newest(tmp_path):
    for number, name in ((10, "train.10.log"), (20, "train.2.log"), (30, "train.log")):
        (tmp_path / name).write_text(EPOCH.format(e=1, t=f"{number} seconds"))
    assert training_seconds(tmp_path) == 30
    (tmp_path / "train.log").unlink()
    assert training_seconds(tmp_path) == 20


@pytest.mark.parametrize(
    "told, total",
    [("27.05 M", 27_050_000), ("1.5 K", 1500), ("2.5 B", 2_500_000_000), ("7.00 ", 7)],
)
def test_the_size_of_a_model_of_espnet_is_read_from_its_log(tmp_path, told, total):
    line = f"    Total Number of model parameters: {told}\n"
    (tmp_path / "train.log").write_text("before\n" + line)
    assert parameters(tmp_path) == (total, None)
    content = '{"total": 5, "active": 4, "multiply_accumulates": 3}'
    (tmp_path / "params.json").write_text(content)
    assert parameters(tmp_path) == (5, 4) and multiply_accumulates(tmp_path) == 3


def test_a_real_time_factor_is_read_from_either_place(tmp_path):
    log = tmp_path / "logdir/calculate_rtf.log"
    log.parent.mkdir()
    log.write_text("audio\nRTF: 0.456\n")
    assert decode_info(tmp_path) == {"rtf": 0.456}
    (tmp_path / "decode.json").write_text('{"rtf": 0.5, "beam_size": 5}')
    assert decode_info(tmp_path) == {"rtf": 0.5, "beam_size": 5}


def test_json_is_read_as_an_object_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')
    assert read_json(path, "cure") == {"a": 1}
    path.write_text("[1]")
    with pytest.raises(ValueError, match="a.json is not a JSON object: cure"):
        read_json(path, "cure")
    with pytest.raises(ValueError, match="b.json does not exist: cure"):
        read_json(tmp_path / "b.json", "cure")


def test_decodings_of_an_earlier_model_are_left_out_and_named(
    tmp_path, monkeypatch, capsys
):
    folders = [tmp_path / f"decode_{name}/test" for name in ("a", "b")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "scores.json").write_text("{}")
    module = "espnet_smoe.report.tables.experiment.outdated"
    monkeypatch.setattr(module, lambda folder: "old" if folder == folders[0] else "")
    assert scored(tmp_path) == scored(tmp_path, "test") == folders[1:]
    assert f"{folders[0]} is left out: old" in capsys.readouterr().err
    with pytest.raises(ValueError, match="decode_.*/dev/scores.json does not exist"):
        scored(tmp_path, "dev")
    monkeypatch.setattr(module, lambda folder: "old")
    with pytest.raises(ValueError, match="scores.json is of an earlier model: run"):
        scored(tmp_path)


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


@pytest.mark.parametrize("value", ['"3.2M"', "[1]", "NaN", "Infinity"])
def test_what_should_be_a_number_and_is_none_is_named(tmp_path, value):
    read = {
        "params.json": ("total", parameters),
        "decode.json": ("rtf", decode_info),
        "train_time.json": ("seconds", training_seconds),
    }
    for name, (key, of) in read.items():
        (tmp_path / name).write_text(f'{{"{key}": {value}}}')
        with pytest.raises(ValueError, match=f"{name}: '{key}' is no number: "):
            of(tmp_path)
        (tmp_path / name).write_text(f'{{"{key}": null}}')
        of(tmp_path)


SCORE = '{"value": 1.5, "low": 1, "high": null, "n": 3}'


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        '{"wer": 3.5}',
        '{"asr": {"all": {"wer": 3.5}}}',
        '{"asr": {"all": {}}}',
        f'{{"asr": {{"nb": {{"wer": {SCORE}}}}}}}',
        f'{{"asr": {{"all": {{"ter": {SCORE}}}}}}}',
        f'{{"asr": {{"all": {{"wer": {SCORE}}}, "nb": {{"wer": {{}}}}}}}}',
        f'{{"asr": {{"all": {{"wer": {SCORE}}}}}}}'.replace("1.5", "NaN"),
        f'{{"asr": {{"all": {{"wer": {SCORE}}}}}}}'.replace("1.5", '"1.5"'),
        f'{{"asr": {{"all": {{"wer": {SCORE}}}}}}}'.replace('"n": 3', '"m": 3'),
        f'{{"asr": {{"all": {{"wer": {SCORE}}}}}}}'.replace("asr", "\udce9"),
    ],
)
def test_scores_of_another_version_are_named_with_the_cure(tmp_path, content):
    path = tmp_path / "scores.json"
    good = f'{{"asr": {{"all": {{"wer": {SCORE}}}}}}}'
    path.write_text(good)
    assert read_scores(tmp_path)["asr"]["all"]["wer"]["value"] == 1.5
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"/scores.json is .*: run stage 13 \(score\)"):
        read_scores(tmp_path)
