"""Validation curves from train.log."""

import os

import pytest

from espnet_smoe import cli
from espnet_smoe.report.tables.curves import choose_key, main, mean_curve, read_curves
from espnet_smoe.report.tables.curves_figure import draw_curves
from tests.report.conftest import figure_of

LINE = (
    "[host] 2026-01-01 00:00:00,000 (trainer:392) INFO: {epoch}epoch results: "
    "[train] loss_ctc=99.0, time=2 seconds, [valid] loss_ctc={loss}, ser=nan, time=1\n"
)


def write(folder, losses):
    folder.mkdir(parents=True)
    lines = [LINE.format(epoch=e, loss=v) for e, v in enumerate(losses, 1)]
    (folder / "train.log").write_text("".join(lines), encoding="utf-8")
    return folder


def test_a_curve_is_of_validation_and_of_the_last_run_of_an_epoch(tmp_path):
    folder = write(tmp_path / "b1", [5.5, 4.0])
    again = LINE.format(epoch=2, loss="3.0e+00")
    log = folder / "train.log"
    log.write_text(log.read_text() + again, encoding="utf-8")
    assert read_curves(folder)["loss_ctc"] == {1: 5.5, 2: 3.0}


def test_seeds_are_one_mean_curve(tmp_path, capsys, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "espnet_smoe.report.tables.curves.draw_curves",
        lambda curves, key, path: drawn.update(curves),
    )
    first = write(tmp_path / "b1_seed1", [5.0, 4.0])
    second = write(tmp_path / "b1_seed2", [7.0])
    main([str(first), str(second), "--png", str(tmp_path / "c.png")])
    assert drawn == {"b1": {1: 6.0}}


def test_the_picture_is_a_png(tmp_path):
    main([str(write(tmp_path / "b1", [5, 4])), "--png", str(tmp_path / "c.png")])
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"


def test_an_unknown_statistic_names_those_that_are_there(tmp_path):
    folder = str(write(tmp_path / "b1", [5.0]))
    png = ["--png", str(tmp_path / "c.png")]
    with pytest.raises(ValueError, match="no validation 'acc'; it has loss_ctc, ser"):
        main([folder, "--key", "acc", *png])
    with pytest.raises(ValueError, match="none does not exist: run stage 11"):
        main([str(tmp_path / "none"), *png])


def test_without_options_what_all_experiments_have_is_drawn(tmp_path, capsys):
    folders = [write(tmp_path / name, [5.0, 4.0]) for name in ("dense", "moe")]
    png = tmp_path / "curves.png"
    arguments = ["curves", *map(str, folders), "--png", str(png)]
    assert cli.main(arguments) == 0  # neither has a usual statistic
    assert "dense: validation loss_ctc 4 in epoch 2" in capsys.readouterr().out
    for folder in folders:
        log = folder / "train.log"
        log.write_text(log.read_text().replace("ser=nan", "ser=nan, loss=7.25"))
    assert cli.main(arguments) == 0
    assert "moe: validation loss 7.25 in epoch 2" in capsys.readouterr().out
    assert png.read_bytes()[:4] == b"\x89PNG"


def test_a_training_without_a_finished_epoch_is_said(tmp_path):
    (tmp_path / "new").mkdir()
    with pytest.raises(ValueError, match="no validated epoch: run stage 11"):
        main([str(tmp_path / "new"), "--png", str(tmp_path / "c.png")])


def test_logs_count_by_their_age_and_epochs_are_in_order(tmp_path):
    folder = write(tmp_path / "b1", [5.5, 4.0])
    older = folder / "train.1.log"
    lines = [LINE.format(epoch=e, loss=9.0) for e in (3, 1)]
    older.write_text("".join(lines), encoding="utf-8")
    os.utime(older, (2**32, 2**32))  # copied later: its name says how old it is
    curve = read_curves(folder)["loss_ctc"]
    assert list(curve.items()) == [(1, 5.5), (2, 4.0), (3, 9.0)]
    assert set(read_curves(folder)) == {"loss_ctc", "ser", "time"}  # none of [train]


def test_the_usual_statistic_is_drawn_where_all_have_it():
    both = {"loss": {1: 1.0}, "acc": {1: 0.5}}
    chosen = [
        choose_key(dict(zip("ab", pair)), key)
        for pair, key in (
            ((both, both), None),
            ((both, {"acc": {}}), None),
            (({"x": {}, "y": {}}, {"y": {}}), None),
            ((both, both), "acc"),
        )
    ]
    assert chosen == ["loss", "acc", "y", "acc"]
    with pytest.raises(ValueError, match="b/train.log has no validation 'x'"):
        choose_key({"a": {"x": {}}, "b": {"y": {}}}, "x")
    with pytest.raises(ValueError, match="a/train.log has no validation 'loss'"):
        choose_key({"a": {"x": {}}, "b": {"y": {}}}, None)


def test_a_mean_curve_has_the_epochs_that_all_have():
    curves = [{1: 2.0, 2: 4.0, 3: 9.0}, {3: 1.0, 1: 4.0}, {1: 0.0, 3: 5.0, 4: 1.0}]
    assert list(mean_curve(curves).items()) == [(1, 2.0), (3, 5.0)]


def test_each_system_is_a_line_named_with_its_last_value(tmp_path):
    curves = {"dense": {1: 5.0, 2: 4.25}, "moe": {1: 4.0, 3: 3.5}}
    figure = figure_of(draw_curves, curves, "loss", tmp_path / "c.png")
    (axes,) = figure.axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn == {
        "dense (4.25)": [[1, 5.0], [2, 4.25]],
        "moe (3.50)": [[1, 4.0], [3, 3.5]],
    }
    assert len({line.get_color() for line in axes.lines}) == 2
    assert axes.get_title(loc="left") == "Validation loss"
    assert axes.get_xlabel() == "epoch"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == list(drawn)
    assert axes.get_legend().get_title().get_text() == "in the last epoch"
    many = {f"s{i}": {1: float(i)} for i in range(9)}  # more systems than colours
    assert len(figure_of(draw_curves, many, "loss", tmp_path).axes[0].lines) == 9


def test_values_far_apart_have_a_logarithmic_axis(tmp_path):
    far, near = {1: 50.0, 9: 1.5}, {1: 50.0, 9: 6.0}
    without = {1: 50.0, 9: 0.0}  # no logarithm
    scales = [
        figure_of(draw_curves, {"a": curve}, "loss", tmp_path / "c.png").axes[0]
        for curve in (far, near, without)
    ]
    assert [axes.get_yscale() for axes in scales] == ["log", "linear", "linear"]
