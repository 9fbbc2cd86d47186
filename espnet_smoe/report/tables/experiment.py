"""Sizes, times and logs of an experiment directory."""

import json
import math
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from espnet_smoe.inference.decode.provenance import outdated
from espnet_smoe.report.scoring.metrics import METRICS

_EPOCH = re.compile(r"(\d+)epoch results: (.*)")
_TIMESPAN = re.compile(
    r"\btime=((?:[\d.]+ (?:year|week|day|hour|minute|second)s?(?:, and |, | and )?)+)"
)
_PART = re.compile(r"([\d.]+) (year|week|day|hour|minute|second)")
_SECONDS = {
    "year": 31_449_600,  # humanfriendly's year: 52 weeks
    "week": 604_800,
    "day": 86_400,
    "hour": 3_600,
    "minute": 60,
    "second": 1,
}
SIZES = ("total", "active", "multiply_accumulates")  # what params.json holds
_RTF = re.compile(r"^RTF: ([\d.]+)", re.MULTILINE)
_PARAMETERS = re.compile(r"Total Number of model parameters: ([\d.]+) ([KMB]?)")
_THOUSANDS = {"": 1, "K": 1e3, "M": 1e6, "B": 1e9}
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ \(")


def read_json(path: Path, cure: str, numbers: Sequence[str] = ()) -> dict:
    """Read a JSON object.

    Args:
        path: File.
        cure: What to do if it is not there or damaged; part of the error.
        numbers: Keys whose values are numbers, or null.

    Raises:
        ValueError: It is missing or damaged; names it.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist: {cure}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"{path} is not JSON ({error}): {cure}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a JSON object: {cure}")
    for key in numbers:
        if not _is_number(content.get(key)):
            raise ValueError(f"{path}: '{key}' is no number: {cure}")
    return content


def _is_number(value: object) -> bool:
    """Whether it is a number that is one, or null."""
    return value is None or isinstance(value, (int, float)) and math.isfinite(value)


def read_scores(decode_dir: Path) -> dict[str, dict[str, dict[str, dict]]]:
    """``scores.json`` of a decoding: task, group and metric to a score.

    Raises:
        ValueError: It is missing, damaged, or what another version has written.
    """
    path, cure = decode_dir / "scores.json", "run stage 13 (score) again"
    scores = read_json(path, cure)
    try:
        groups = [tuple(of.items()) for task in scores.values() for of in task.values()]
        known = all(task.get("all") for task in scores.values()) and bool(scores)
        known = known and all(map(_is_score, (entry for of in groups for entry in of)))
    except AttributeError:  # a number where a table should be
        known = False
    if not known:
        raise ValueError(f"{path} is damaged or of another version: {cure}")
    return scores


def _is_score(entry: tuple[str, object]) -> bool:
    name, score = entry
    if name not in METRICS or not isinstance(score, dict):
        return False
    numbers = [score.get(key, "") for key in ("value", "low", "high")]
    return isinstance(score.get("n"), int) and all(map(_is_number, numbers))


def mean(values: Sequence[float | None]) -> float | None:
    """Mean over the trainings of a system; None where one of them is unknown."""
    return None if None in values else sum(values) / len(values)


def scored(experiment: Path, test_set: str = "*") -> list[Path]:
    """Decoding folders with scores of the model that is there now.

    Those of an earlier model are named on standard error and left out.

    Args:
        experiment: Its folder.
        test_set: Name of the set, or all.

    Raises:
        ValueError: There are no such scores.
    """
    if not experiment.is_dir():
        raise ValueError(f"{experiment} does not exist: run stage 11 (train)")
    found = sorted(experiment.glob(f"decode_*/{test_set}/scores.json"))
    current = []
    for folder in (path.parent for path in found):
        if why := outdated(folder):
            print(f"{folder} is left out: {why}", file=sys.stderr)
        else:
            current.append(folder)
    if not current:
        state = "is of an earlier model" if found else "does not exist"
        raise ValueError(
            f"{experiment}/decode_*/{test_set}/scores.json {state}: run stages 12 and "
            "13 (decode, score), or espnet-smoe score --data DIR --hyp DIR"
        )
    return current


def decode_info(decode_dir: Path) -> dict:
    """``decode.json`` of a decoding directory; empty without one.

    Of a decoding of ESPnet's asr.sh the real-time factor, from its log.
    """
    path = decode_dir / "decode.json"
    if path.exists():
        return read_json(path, "run stage 12 (decode) again", ("rtf",))
    rtf = _search(decode_dir / "logdir" / "calculate_rtf.log", _RTF)
    return {} if rtf is None else {"rtf": float(rtf[1])}


def parameters(experiment: Path) -> tuple[int | None, int | None]:
    """Parameters in all and active, from ``params.json``; None if unknown.

    ESPnet's ``train.log`` tells the first, to two digits.
    """
    content = _size(experiment)
    total = content.get("total")
    if total is None:
        match = _search(experiment / "train.log", _PARAMETERS)
        total = match and round(float(match[1]) * _THOUSANDS[match[2]])
    return total, content.get("active")


def _search(log: Path, pattern: re.Pattern[str]) -> re.Match[str] | None:
    """The first match in a log, which need not be there."""
    if not log.is_file():
        return None
    return pattern.search(log.read_text(encoding="utf-8", errors="replace"))


def multiply_accumulates(experiment: Path) -> int | None:
    """Of the encoder for one second of speech, from ``params.json``."""
    return _size(experiment).get("multiply_accumulates")


def _size(experiment: Path) -> dict:
    path = experiment / "params.json"
    if not path.exists():
        return {}
    return read_json(path, "run stage 11 (train) again", SIZES)


def training_seconds(experiment: Path) -> float | None:
    """Time spent training, in seconds; None if nothing tells.

    From ``train_time.json`` (``{"seconds": ...}``), else from ESPnet's
    ``train.log`` and the older logs that it was rotated to: the sum of the
    epochs' own times, so that a pause between a broken run and its resumption
    does not count and an epoch trained twice counts once. A log without epochs'
    times but with ``The training was finished`` gives the span of its time
    stamps.
    """
    path = experiment / "train_time.json"
    if path.exists():
        cure = "delete it to use train.log instead"
        return read_json(path, cure, ("seconds",)).get("seconds")
    lines = training_log(experiment).splitlines()
    epochs = {}  # a later run of an epoch replaces the earlier
    for line in lines:
        match = _EPOCH.search(line)
        if match and _TIMESPAN.search(match[2]):
            epochs[match[1]] = sum(map(_seconds, _TIMESPAN.findall(match[2])))
    return sum(epochs.values()) if epochs else _span(lines)


def training_log(experiment: Path) -> str:
    """``train.log`` and the older logs that it was rotated to, the oldest first."""

    def age(log: Path) -> int:  # train.log is the newest, train.10.log the oldest
        number = log.name.split(".")[1]
        return int(number) if number.isdigit() else 0

    logs = sorted(experiment.glob("train*.log"), key=age, reverse=True)
    texts = [log.read_text(encoding="utf-8", errors="replace") for log in logs]
    return "\n".join(texts)  # one that was cut off has no last newline


def _seconds(timespan: str) -> float:
    """Seconds of humanfriendly's ``1 hour, 2 minutes and 3.4 seconds``."""
    return sum(float(n) * _SECONDS[unit] for n, unit in _PART.findall(timespan))


def _span(lines: list[str]) -> float | None:
    if not any("The training was finished" in line for line in lines):
        return None
    stamps = [m[1] for m in map(_STAMP.search, lines) if m]
    if len(stamps) < 2:
        return None
    first, last = (datetime.fromisoformat(stamps[i]) for i in (0, -1))
    return (last - first).total_seconds()
