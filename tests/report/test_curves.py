"""Validation curves from train.log."""

import pytest

from espnet_smoe import cli
from espnet_smoe.report.curves import main, read_curves

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
        "espnet_smoe.report.curves.draw_curves",
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
    with pytest.raises(SystemExit, match="no validation 'acc'; it has loss_ctc, ser"):
        main([folder, "--key", "acc", *png])
    with pytest.raises(SystemExit, match="none does not exist: run stage 11"):
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
    with pytest.raises(SystemExit, match="no validated epoch: run stage 11"):
        main([str(tmp_path / "new"), "--png", str(tmp_path / "c.png")])
