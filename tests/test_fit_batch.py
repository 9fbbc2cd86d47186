"""espnet-smoe fit-batch: the largest batch whose steps fit, and what it says."""

import multiprocessing
import re
import tracemalloc
from pathlib import Path

import pytest
import torch
import yaml

from espnet_smoe import cli, fit_batch, register
from espnet_smoe.compat import TooShortUttError
from tests.test_check_config import MINI

register()  # imports all that a limit of memory counts
CORPUS = {"long": (48000, 12), "middle": (16000, 5), "short": (4000, 1)}
SMALL = {
    "encoder_conf": {"output_size": 16, "linear_units": 32, "num_blocks": 1},
    "decoder_conf": {"linear_units": 32, "num_blocks": 1},
}


@pytest.fixture
def stats(tmp_path) -> Path:
    """Of a corpus of three utterances."""
    folder = tmp_path / "stats/train"
    folder.mkdir(parents=True)
    for place, field in enumerate(("speech", "text")):
        lines = [f"{name} {lengths[place]}\n" for name, lengths in CORPUS.items()]
        (folder / f"{field}_shape").write_text("".join(lines))
    return folder.parent


@pytest.fixture
def config(tmp_path) -> Path:
    """The mini recipe's file with a smaller model."""
    options = yaml.safe_load(MINI.read_text(encoding="utf-8"))
    for section, changes in SMALL.items():
        options[section] |= changes
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(options), encoding="utf-8")
    return path


def used() -> int:
    """Bytes of this process that a limit counts."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmData:\s+(\d+)", status)[1]) * 1024


def print_largest(words: list[str]) -> None:
    """With 60 and with 110 MiB more than are used."""
    for more in (60, 110):
        memory = ["--device", "cpu", "--memory", f"{used() // 2**20 + more}M"]
        assert cli.main(["fit-batch", *words, *memory]) == 0


def test_more_memory_takes_a_larger_batch(config, stats, capfd):
    words = [str(config), "--vocab-size", "60", "--stats", str(stats)]
    # in a process that has no memory left over from other tests
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=print_largest, args=(words,))
    process.start()
    process.join()
    out = capfd.readouterr().out
    match = re.fullmatch(2 * r"batch_type: numel\nbatch_bins: (\d+)\n", out)
    little, much = map(int, match.groups())
    assert sum(CORPUS["long"]) <= little
    assert 1.5 * little < much


def test_a_step_that_does_not_fit_leaves_nothing_behind(config):
    memory = used() + 100 * 2**20
    steps = fit_batch.Steps(str(config), None, 60, torch.device("cpu"), memory)
    one = {"speech": (16000,), "text": (5,)}
    assert [steps.fit(one, count) for count in (1, 1000, 1)] == [True, False, True]


def test_the_largest_batch_fits_for_every_length(stats):
    shapes = fit_batch.shapes_of(stats)
    assert [one["speech"][0] for one in shapes] == [48000, 4000, 16000]
    limits = {48000: 20, 4000: 700, 16000: 45}  # utterances; the middle one's is least

    def fit(one: dict, count: int) -> bool:
        return count <= limits[one["speech"][0]]

    bins = fit_batch.largest(shapes, fit)
    assert all(fit(one, bins // fit_batch.numbers(one)) for one in shapes)
    larger = bins * fit_batch.PRECISION
    assert not all(fit(one, int(larger // fit_batch.numbers(one))) for one in shapes)


def test_where_nothing_fits_the_cure_is_named(stats):
    with pytest.raises(ValueError, match="not even the longest utterance fits; take"):
        fit_batch.largest(fit_batch.shapes_of(stats), lambda one, count: False)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        KeyError("text_st"),  # of the model's own code
        TooShortUttError("is too short for subsampling", 3, 7),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_is_no_lack_of_memory_is_told(config, monkeypatch, error):
    steps = fit_batch.Steps(str(config), None, 60, torch.device("cpu"), 2**40)

    def fail(batch: dict) -> None:
        raise error

    monkeypatch.setattr(steps, "_update", fail)
    said = re.escape(f"a step fails: {type(error).__name__}: {error}")
    with pytest.raises(ValueError, match=said):
        steps.fit({"speech": (16000,), "text": (5,)}, 1)


def test_other_errors_of_a_step_are_told(config):
    steps = fit_batch.Steps(str(config), None, 60, torch.device("cpu"), 2**40)
    with pytest.raises(ValueError, match="a step fails: "):
        steps.fit({"speech": (16000, 3, 2), "text": (5,)}, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("long 48000\nshort\n", "speech_shape: not a table of shapes"),
        ("long many\n", "speech_shape: not a table of shapes"),
        ("", "no train/speech_shape; make it by stage 10"),
        ("long 1\nother 2\n", "other is not in all of its tables"),
    ],
)
def test_wrong_statistics_are_named(stats, content, message):
    (stats / "train/speech_shape").write_text(content)
    with pytest.raises(ValueError, match=message):
        fit_batch.shapes_of(stats)


def test_shapes_of_a_large_corpus_need_no_memory(stats):
    names = [f"utterance-{at:06}" for at in range(2 * 9973)]
    for at, field in enumerate(("speech", "text"), 1):
        lines = (f"{name} {int(name[-6:]) * 7 % 9973 + at}\n" for name in names)
        (stats / f"train/{field}_shape").write_text("".join(lines))
    fit_batch.shapes_of(stats)
    tracemalloc.start()
    longest, shortest, middle = fit_batch.shapes_of(stats)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert longest["speech"] == (9973,) and longest["text"] == (9974,)
    assert shortest["speech"] == (1,) and middle["speech"] == (4987,)
    assert peak < 50 * len(names)


@pytest.mark.parametrize(("text", "bytes_"), [("2G", 2**31), ("1.5KiB", 1536)])
def test_memory_has_units(text, bytes_):
    assert fit_batch.size(text) == bytes_
