"""Records of what an experiment was made from: configuration, tokens, data, code.

Training and the statistics leave a record, ``provenance.json``, in their folder when
they start. A later run compares its own inputs with the record before it writes
anything: training goes on from a checkpoint only with what it was made from.
"""

import argparse
import hashlib
import importlib.metadata
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from espnet_smoe.config.yaml_file import read_yaml
from espnet_smoe.data.speech.shard import KIND as SHARD
from espnet_smoe.fingerprints import (
    fingerprint_audio,
    fingerprint_file,
    fingerprint_shards,
    fingerprint_table,
    fingerprint_tokens,
)
from espnet_smoe.version import __version__

FINGERPRINTS = {"sound": fingerprint_audio, SHARD: fingerprint_shards}
PACKAGE = Path(__file__).parents[1]
RECORD = "provenance.json"
LISTED = 10  # differences that a message shows
WIDTH = 60  # characters of a value that a message shows

# How a training runs, how long, and what it logs: free to change.
FREE = {
    *("config", "print_config", "output_dir", "dry_run", "collect_stats", "resume"),
    *("max_epoch", "patience", "early_stopping_criterion", "keep_nbest_models"),
    *("nbest_averaging_interval", "ngpu", "num_workers", "local_rank", "distributed"),
    *("multiprocessing_distributed", "unused_parameters", "gradient_as_bucket_view"),
    *("ddp_comm_hook", "use_tf32", "detect_anomaly", "no_forward_run", "pretrain_path"),
    *("log_level", "log_interval", "num_att_plot", "use_matplotlib", "use_tensorboard"),
    *("create_graph_in_tensorboard", "write_collected_feats", "max_cache_size"),
    *("max_cache_fd", "valid_max_cache_size", "valid_batch_size", "valid_batch_bins"),
    *("version", "required", "deepspeed_config", "use_wandb", "save_every_steps"),
    *("expert_parallel", "fsdp"),
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


def training_record(args: argparse.Namespace) -> dict[str, Any]:
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


def config_record(path: Path) -> dict[str, Any]:
    """What a ``config.yaml`` that training wrote tells of its training.

    Args:
        path: The file.

    Returns:
        A record without data and code: of an experiment that has no other.

    Raises:
        ValueError: The file is not YAML, or holds no options.
    """
    try:
        options = read_yaml(path)
    except ValueError as error:
        raise ValueError(f"{error}; remove it") from error
    tokens = {
        key: fingerprint_tokens(value)
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
    for path in sorted(PACKAGE.rglob("*.py")):
        source.update(path.read_bytes())
    versions = {"espnet_smoe": f"{__version__}+{source.hexdigest()[:8]}"}
    for package in ("espnet", "torch"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def _token_files(options: Mapping[str, Any]) -> dict[str, str]:
    prints = {}
    for key, value in options.items():
        if key.endswith("token_list") and value not in (None, "none"):
            prints[key] = fingerprint_tokens(value)
        elif key.endswith("bpemodel") and value not in (None, "none"):
            prints[key] = fingerprint_file(value)
        elif key == "init_param":
            for number, what in enumerate(value or ()):
                path, _, keys = what.partition(":")
                name = f"{key}[{number}]" + (f" {keys}" if keys else "")
                prints[name] = fingerprint_file(path)
    return prints


def _data(options: Mapping[str, Any]) -> dict[str, str]:
    prints = {}
    for part in ("train", "valid"):
        triplets = options.get(f"{part}_data_path_and_name_and_type") or ()
        for path, name, kind in triplets:
            of = FINGERPRINTS.get(kind, fingerprint_table)
            prints[f"{part}.{name}"] = f"{of(path)} ({kind})"
    return prints


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], part: str
) -> list[Difference]:
    """Where two records differ.

    Args:
        old: Record, or `config_record`, of which only what it knows is compared.
        new: Record of `training_record`.
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


def read_record(folder: Path) -> dict[str, Any] | None:
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


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a folder at once."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{RECORD}.{os.getpid()}"
    partial.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    os.replace(partial, folder / RECORD)
