"""What is shown of a job while it runs, from lines as ESPnet and tqdm log them."""

import io
import os
import subprocess
from pathlib import Path

import pytest

from espnet_smoe.training.progress import (
    Display,
    Progress,
    Watch,
    duration,
    error_rates,
)

RUN_JOB = Path(__file__).parents[2] / "egs2/TEMPLATE/smoe1/run_job"
SAMPLER = "[train] Batch sampler: NumElementsBatchSampler(N-batch=100, batch_bins=9)"
VALID = "[valid] loss_asr=18.8, cer_asr=0.421, wer_asr=0.674, cer_ctc_asr=0.650, "
VALID += (
    "wer_st=0.51, acc=0.752, encoder_load_1=0.000e+00, loss=15.418, time=1.3 seconds"
)


def logged(clock, text):
    return f"[host] 2026-11-26 12:{clock},000 (trainer:1) INFO: {text}"


def step(clock, epoch, batch, loss="18.7"):
    what = f"{epoch}epoch:train:{batch - 49}-{batch}batch: acc=0.7, loss={loss}, x=1.0"
    return logged(clock, what)


def results(clock, epoch, valid=VALID):
    return logged(clock, f"{epoch}epoch results: [train] acc=0.7, loss=18.925, {valid}")


def results_of(epoch, clock, valid=VALID):
    return results(clock, epoch, f"total_count=408, {valid}")


def read(*lines):
    progress = Progress()
    kept = [said for said in map(progress.read, lines) if said]
    return kept, progress.status


BEGINNING = (logged("00:00", SAMPLER), logged("00:10", "1/4epoch started"))


def test_an_epoch_is_a_line_with_losses_error_rates_and_time_left():
    kept, _ = read(*BEGINNING, step("00:40", 1, 50), results_of(1, "01:10"))
    rates = "wer_asr 67.4 %  wer_st 51.0 %"
    assert kept == [f"epoch 1/4  loss 18.93  valid 15.42  {rates}  3 min left"]
    assert len(kept[0]) < 79


@pytest.mark.parametrize(
    ("valid", "shown"),
    [
        ("[valid] cer_ctc=0.25, loss_ctc=8.5, loss=9.0", "cer_ctc 25.0 %"),
        ("[valid] ser_ctc=0.5, loss=9.0", "ser_ctc 50.0 %"),
        ("[valid] acc=0.5, loss=9.0", "acc 50.0 %"),
        ("[valid] loss=nan", "valid nan"),
    ],
)
def test_what_a_model_reports_is_shown(valid, shown):
    kept, _ = read(*BEGINNING, results_of(1, "01:10", valid))
    assert shown in kept[0]


def test_the_first_epoch_tells_batch_loss_and_time_left():
    _, status = read(*BEGINNING, step("00:40", 1, 50, "60.25"))
    assert status == "epoch 1/4, batch 50/100  loss 60.25  4 min left"  # 30 s of 4 min


def test_a_comma_that_espnet_leaves_out_hides_no_value():
    line = logged("00:40", "1epoch:train:1-50batch: load_1=0.554loss=100.8, x=1e-04")
    assert "loss 100.8" in read(*BEGINNING, line)[1]


def test_a_resumed_training_is_judged_by_its_own_pace():
    begun = (logged("00:00", SAMPLER), logged("00:10", "3/4epoch started"))
    kept, _ = read(*begun, results_of(3, "00:50"))
    assert kept[0].endswith("40 s left")


def test_the_last_epoch_tells_how_long_it_took():
    begun = (logged("00:00", SAMPLER), logged("00:10", "4/4epoch started"))
    kept, status = read(*begun, results_of(4, "00:55"))
    assert kept[0].endswith("after 45 s")
    assert status == ""


def test_without_a_number_of_batches_only_whole_epochs_tell_the_time_left():
    begun = logged("00:00", "1/3epoch started")
    assert read(begun, step("00:30", 1, 50))[1] == "epoch 1/3, batch 50  loss 18.7"
    assert read(begun, results_of(1, "00:40"))[0][0].endswith("80 s left")


def test_statistics_and_decoding_tell_how_far_they_are():
    assert read(logged("00:00", "Niter: 150"))[1] == "150 batches"
    bar = " 42%|####2     | 5/12 [00:10<00:14,  2.00s/group]"
    assert read(bar)[1] == "5/12, 00:14 left"


def test_error_rates_of_words_come_first_and_the_decoders_before_ctc():
    assert error_rates({"cer": "1", "wer_ctc": "1", "wer": "1"}) == ["wer"]
    assert error_rates({"cer_ctc": "1", "cer": "1"}) == ["cer"]
    assert error_rates({"answer": "1", "loss": "1"}) == []


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(59.6, "60 s"), (3590, "1 h 00 min"), (86_400, "24 h 00 min")],
)
def test_durations_are_round(seconds, shown):
    assert duration(seconds) == shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_away_from_a_terminal_each_epoch_is_a_plain_line(tmp_path):
    log, out = tmp_path / "train.log", io.StringIO()
    watch = Watch([log], Display(out))
    for line in (*BEGINNING, step("00:40", 1, 50), results_of(1, "01:10")):
        with open(log, "a") as file:
            file.write(line + "\n")
        watch.look()
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().startswith("  epoch 1/4  loss")
    assert "\r" not in out.getvalue() and "\x1b" not in out.getvalue()


def test_a_terminal_has_one_line_that_changes_and_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "24")
    log, out = tmp_path / "train.log", Terminal()
    watch = Watch([log], Display(out))
    log.write_text("\n".join([*BEGINNING, step("00:40", 1, 50), ""]))
    watch.look()
    assert out.getvalue() == "\r  epoch 1/4, batch 50/1\x1b[K"  # never wraps
    log.write_text(log.read_text() + results_of(1, "01:10") + "\n")
    watch.look()
    assert "\r\x1b[K  epoch 1/4  loss 18.93" in out.getvalue()


def test_lines_are_read_when_they_are_whole(tmp_path):
    log, out = tmp_path / "train.log", io.StringIO()
    watch = Watch([log], Display(out))
    text = "\n".join([*BEGINNING, results_of(1, "01:10"), "한"]).encode()
    for end in (100, len(text) - 30, len(text) - 1, len(text)):
        log.write_bytes(text[:end])
        watch.look()
    assert out.getvalue().count("epoch 1/4") == 1


def test_the_log_of_an_earlier_run_is_not_shown(tmp_path):
    log, out = tmp_path / "train.log", io.StringIO()
    log.write_text("\n".join([*BEGINNING, results_of(1, "01:10"), ""]))
    watch = Watch([log], Display(out))
    watch.look()
    os.replace(log, tmp_path / "train.1.log")
    log.write_text("\n".join([*BEGINNING, results_of(2, "01:10"), ""]))
    watch.look()
    assert out.getvalue().count("\n") == 1


def test_a_log_begun_anew_is_read_from_its_start(tmp_path):
    log, out = tmp_path / "train.log", io.StringIO()
    watch = Watch([log], Display(out))
    log.write_text("x" * 5000 + "\n")
    watch.look()
    log.write_text("\n".join([*BEGINNING, results_of(1, "01:10"), ""]))
    watch.look()
    assert out.getvalue().count("\n") == 1


def test_several_processes_are_counted(tmp_path):
    logs, out = [tmp_path / f"stats.{n}.log" for n in (1, 2)], Terminal()
    watch = Watch(logs, Display(out))
    logs[0].write_text("# ended with status 0\n")
    watch.look()
    assert "1 of 2 processes done" in out.getvalue()
    assert not watch.ended


@pytest.mark.parametrize("backend", ["local", "slurm"])
def test_run_job_shows_the_epochs_of_a_training(tmp_path, backend):
    (tmp_path / "log.txt").write_text(
        "\n".join([*BEGINNING, results_of(1, "01:10"), ""])
    )
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/slurm.conf").write_text("cpu:\n")
    (tmp_path / "sbatch").write_text('#!/bin/sh\nfor last; do :; done\nsh "$last"\n')
    (tmp_path / "sbatch").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [str(RUN_JOB), backend, "exp/train.log", "cat", "log.txt"],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 1/4  loss 18.93" in done.stderr
    assert done.stdout == ""
