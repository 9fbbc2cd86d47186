"""What an experiment was made from: configuration, tokens, data, code.

Training and the statistics leave a record, ``provenance.json``, in their folder when
they start. Who comes later compares its own inputs with the record before it writes
anything: a checkpoint goes on only with what it was made from.
"""

import argparse
import functools
import hashlib
import importlib.metadata
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

import espnet_smoe

RECORD = "provenance.json"
LISTED = 10  # differences that a message shows
WIDTH = 60  # characters of a value that a message shows
SAMPLED = 32  # recordings of a set whose beginning is read
SAMPLE_BYTES = 65536

# How a training runs, how long, and what it tells: free to change.
FREE = {
    *("config", "print_config", "output_dir", "dry_run", "collect_stats", "resume"),
    *("max_epoch", "patience", "early_stopping_criterion", "keep_nbest_models"),
    *("nbest_averaging_interval", "ngpu", "num_workers", "local_rank", "distributed"),
    *("multiprocessing_distributed", "unused_parameters", "gradient_as_bucket_view"),
    *("ddp_comm_hook", "use_tf32", "detect_anomaly", "no_forward_run", "pretrain_path"),
    *("log_level", "log_interval", "num_att_plot", "use_matplotlib", "use_tensorboard"),
    *("create_graph_in_tensorboard", "write_collected_feats", "max_cache_size"),
    *("max_cache_fd", "valid_max_cache_size", "valid_batch_size", "valid_batch_bins"),
    *("version", "required", "deepspeed_config", "use_wandb"),
}
FREE_BEGINNINGS = ("dist_", "wandb_", "cudnn_")
# Paths: what the files hold is compared instead.
FILES = ("token_list", "bpemodel", "init_param", "stats_file", "shape_file")
# What the statistics of stage 10 depend on.
FEATURES = {
    *("frontend", "frontend_conf", "input_size", "token_type", "cleaner", "g2p"),
    "non_linguistic_symbols",
}


@dataclass(frozen=True)
class Difference:
    """One key of two records, as text; ``missing`` where one lacks it."""

    key: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.key}: {_short(self.old)} -> {_short(self.new)}"


def of_training(args: argparse.Namespace) -> dict[str, Any]:
    """The record of a training, or of the collection of its statistics.

    Args:
        args: Options of an ESPnet task, as its parser returns them.

    Returns:
        ``config``, ``tokens``, ``data``, ``code``, ``folder``, ``date``; all of it can
        be written as JSON.

    Raises:
        ValueError: A file that the options name does not exist.
    """
    options = vars(args)
    return {
        "config": compared(options),
        "tokens": _token_files(options),
        "data": _data(options),
        "code": code_versions(),
        "folder": os.getcwd(),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def of_config(path: Path) -> dict[str, Any]:
    """What a ``config.yaml`` that training wrote tells of its training.

    Args:
        path: The file.

    Returns:
        A record without data and code: of an experiment that has no other.

    Raises:
        ValueError: The file is not YAML, or holds no options.
    """
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML ({error}); remove it") from error
    if not isinstance(options, dict):
        raise ValueError(f"{path} holds no options; remove it")
    tokens = {
        key: of_tokens(value)
        for key, value in options.items()
        if key.endswith("token_list") and isinstance(value, list)
    }
    return {"config": compared(options), "tokens": tokens, "data": None, "code": None}


def compared(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that make a training what it is, nested ones as ``section.key``."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if key in FREE or key.startswith(FREE_BEGINNINGS):
            continue
        if not key.endswith("data_path_and_name_and_type"):
            _flatten(key, value, flat)
    return {k: v for k, v in flat.items() if not k.endswith(FILES)}


def _flatten(key: str, value: Any, flat: dict[str, Any]) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _flatten(f"{key}.{name}", inner, flat)
    else:
        flat[key] = json.loads(json.dumps(value, default=str))  # tuples become lists


def code_versions() -> dict[str, str]:
    """Versions of what trains: ours with a hash of the source, ESPnet's and torch's."""
    source = hashlib.sha256()
    for path in sorted(Path(espnet_smoe.__file__).parent.rglob("*.py")):
        source.update(path.read_bytes())
    versions = {"espnet_smoe": f"{espnet_smoe.__version__}+{source.hexdigest()[:8]}"}
    for package in ("espnet", "torch"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def of_file(path: str | Path) -> str:
    """Fingerprint of a file's content.

    Raises:
        ValueError: It does not exist.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist")
    known = os.stat(path)
    return _digest(os.path.realpath(path), known.st_size, known.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _digest(path: str, size: int, changed: int) -> str:
    """Of a file as it was then: one checkpoint is beside many decodings."""
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]


def of_table(path: str | Path) -> str:
    """Fingerprint of a table: its lines and its content.

    Raises:
        ValueError: It does not exist.
    """
    digest = of_file(path)
    return f"{count_lines(path)} lines, {digest}"


def count_lines(path: str | Path) -> int:
    """How many lines a table has."""
    with open(path, "rb") as lines:
        return sum(1 for _ in lines)


def of_tokens(tokens: str | Path | Sequence[str]) -> str:
    """Fingerprint of a token list, or of the file that holds it.

    Raises:
        ValueError: The file does not exist.
    """
    if isinstance(tokens, (str, Path)):
        if not Path(tokens).is_file():
            raise ValueError(f"{tokens} does not exist")
        with open(tokens, encoding="utf-8") as lines:  # a token may be U+2028
            tokens = [line[:1] + line[1:].rstrip() for line in lines]
    digest = hashlib.sha256("\n".join(tokens).encode()).hexdigest()
    return f"{len(tokens)} tokens, {digest[:16]}"


def of_audio(path: str | Path) -> str:
    """Fingerprint of the recordings in a ``wav.scp``, wherever they lie.

    The names of all utterances, their lengths where ``utt2num_samples`` tells them, and
    the beginning of some recordings: a corpus that was moved is the same corpus.

    Raises:
        ValueError: The table does not exist.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    content = hashlib.sha256()
    number = count_lines(path)
    step = max(1, number // SAMPLED)
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        for i, line in enumerate(lines):
            name, _, recording = line.strip().partition(" ")
            content.update(name.encode("utf-8", "surrogateescape") + b"\n")
            if i % step == 0:
                content.update(_beginning(recording.strip()))
    lengths = path.with_name("utt2num_samples")
    if lengths.is_file():
        content.update(of_file(lengths).encode())
    return f"{number} lines, {content.hexdigest()[:16]}"


def _beginning(recording: str) -> bytes:
    try:
        with open(recording, "rb") as audio:
            return audio.read(SAMPLE_BYTES)
    except (OSError, ValueError):  # a pipe or an archive: what it is called
        return recording.encode("utf-8", "surrogateescape")


def _token_files(options: Mapping[str, Any]) -> dict[str, str]:
    prints = {}
    for key, value in options.items():
        if key.endswith("token_list") and value not in (None, "none"):
            prints[key] = of_tokens(value)
        elif key.endswith("bpemodel") and value not in (None, "none"):
            prints[key] = of_file(value)
        elif key == "init_param":
            for number, what in enumerate(value or ()):
                path, _, keys = what.partition(":")
                name = f"{key}[{number}]" + (f" {keys}" if keys else "")
                prints[name] = of_file(path)
    return prints


def _data(options: Mapping[str, Any]) -> dict[str, str]:
    prints = {}
    for part in ("train", "valid"):
        triplets = options.get(f"{part}_data_path_and_name_and_type") or ()
        for path, name, kind in triplets:
            of = of_audio if kind == "sound" else of_table
            prints[f"{part}.{name}"] = f"{of(path)} ({kind})"
    return prints


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], part: str
) -> list[Difference]:
    """Where two records differ.

    Args:
        old: Record, or `of_config`, of which only what it knows is compared.
        new: Record of `of_training`.
        part: ``config``, ``tokens``, ``data`` or ``code``.

    Returns:
        A difference a key, in the order of the keys.
    """
    before, now = old.get(part), new.get(part)
    if before is None or now is None:
        return []
    keys = before.keys() & now.keys() if old.get("data") is None else before | now
    prefix = "" if part == "config" else f"{part}."
    return [
        Difference(prefix + key, _text(before, key), _text(now, key))
        for key in sorted(keys)
        if key not in before or key not in now or not _equal(before[key], now[key])
    ]


def features(record: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record that the statistics of stage 10 depend on."""
    config = {k: v for k, v in record["config"].items() if k.split(".")[0] in FEATURES}
    tokens = {k: v for k, v in record["tokens"].items() if "init_param" not in k}
    return {**record, "config": config, "tokens": tokens}


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if one == other and isinstance(one, bool) == isinstance(other, bool):
        return True
    numbers = [_number(one), _number(other)]
    return None not in numbers and math.isclose(*numbers, rel_tol=1e-12)


def _number(value: Any) -> float | None:
    """`1e-3` is a string in YAML 1.1, and a number for whom it is written."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _text(part: Mapping[str, Any], key: str) -> str:
    value = part.get(key, "missing")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."


def listed(found: list[Difference]) -> str:
    """A line a difference, at most `LISTED` of them."""
    lines = [f"  {difference}" for difference in found[:LISTED]]
    if len(found) > LISTED:
        lines.append(f"  and {len(found) - LISTED} more")
    return "\n".join(lines)


def read(folder: Path) -> dict[str, Any] | None:
    """The record of a folder; None where there is none.

    Raises:
        ValueError: It is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(record[part], dict) for part in ("config", "tokens")):
            raise ValueError("no record")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); remove it to go on without a comparison"
        ) from error
    return record


def write(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a folder at once."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{RECORD}.{os.getpid()}"
    partial.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    os.replace(partial, folder / RECORD)


def of_decoding(model_file: str | Path, data: str | Path) -> dict[str, str]:
    """What a decoding was made of, for its ``decode.json``.

    Args:
        model_file: Checkpoint.
        data: Data directory.

    Raises:
        ValueError: There is no such checkpoint, or no ``wav.scp``.
    """
    if not Path(model_file).is_file():
        raise ValueError(
            f"{model_file} does not exist; stage 11 of the recipe writes it"
        )
    return {
        "model_file": str(model_file),
        "model": of_file(model_file),
        "data": str(data),
        "recordings": of_audio(Path(data) / "wav.scp"),
    }


def outdated(decode_dir: Path) -> str | None:
    """Why the texts in a folder are no longer those of its model and recordings.

    Args:
        decode_dir: Folder with ``decode.json``.

    Returns:
        What has changed since; None where nothing has or nobody can tell.
    """
    try:
        info = json.loads((decode_dir / "decode.json").read_text(encoding="utf-8"))
        model, data = Path(info["model_file"]), Path(info["data"]) / "wav.scp"
        was = info["model"], info["recordings"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none, or of a time before
    # An experiment is found where it is now, also from elsewhere or in a copy.
    beside = [folder / model.name for folder in decode_dir.parents[:2]]
    model = next((path for path in [*beside, model] if path.is_file()), model)
    if model.is_file() and of_file(model) != was[0]:
        return f"{model} is another model than the one that decoded it"
    if data.is_file() and of_audio(data) != was[1]:
        return f"{data} lists other recordings than those decoded"
    return None


def check_decoding(decode_dir: Path) -> None:
    """Refuse texts that are not those of the model beside them.

    Raises:
        ValueError: Names what has changed.
    """
    if why := outdated(decode_dir):
        raise ValueError(
            f"{decode_dir}: {why}; run stage 12 (decode) again, or remove the folder"
        )
