"""A training configuration, the files that it names, and what it was trained on.

Nothing here loads torch: packing a model must not.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from espnet_smoe.data.data_dir import write_lines

FILE_KEYS = (("bpemodel",), ("token_list",), ("normalize_conf", "stats_file"))
LENGTHS = "lengths.json"  # beside the configuration: how long training speech was
SAMPLE_RATE = 16000  # Hz, where the configuration's front-end does not say another


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a training configuration; its relative paths become ones that exist.

    A path counts from the recipe's folder, which is a parent of the configuration's,
    or else from the current folder, as ESPnet writes it; or the file is beside the
    configuration.

    Raises:
        ValueError: The file is missing or no training configuration, or a file that it
            names is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; stage 11 of the recipe writes it")
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or "token_list" not in config:
        raise ValueError(
            f"{path} is no training configuration; give the config.yaml that training "
            "wrote into the experiment's folder"
        )
    for section, key, name in named_files(config):
        section[key] = str(existing_file(section[key], path, name))
    return config


def named_files(config: dict) -> Iterator[tuple[dict, str, str]]:
    """Where a configuration names a file that inference needs.

    Yields:
        The mapping that holds it, its key there, and the whole key.
    """
    for *parents, key in FILE_KEYS:
        section = config
        for parent in parents:
            section = section.get(parent) or {}
        if isinstance(section.get(key), str) and section[key]:
            yield section, key, ".".join([*parents, key])


def existing_file(value: str, config: Path, key: str) -> Path:
    """The file that a configuration means.

    Args:
        value: The path that it names.
        config: Where the configuration is.
        key: For the error.

    Raises:
        ValueError: There is none.
    """
    for place in [*_beside(value, config), Path(value)]:
        if place.is_file():
            return place
    raise ValueError(
        f"{config}: {key} names {value}, which is neither in the folder of the recipe, "
        f"nor in the current one, nor beside the configuration; run from the recipe's "
        f"folder or copy it to {config.parent}"
    )


def _beside(value: str, config: Path) -> Iterator[Path]:
    """Where a file of an experiment may be, the nearest first.

    The experiment's own recipe comes before the current folder: there, a file of the
    same name may be of another model.
    """
    yield config.parent / value
    yield config.parent / Path(value).name
    for folder in (config.absolute(), config.resolve()):
        for parent in folder.parents[1:]:
            yield parent / value
    # statistics beside the experiment, where the folder of both was moved
    yield config.absolute().parent.parent.joinpath(*Path(value).parts[-3:])


def trained_seconds(path: Path, config: Mapping[str, Any]) -> float | None:
    """How long the longest training utterance of a model was.

    Args:
        path: Where its configuration is.
        config: Its content.

    Returns:
        Seconds; None where neither `LENGTHS` beside it nor the statistics of stage 10
        tell.
    """
    kept = path.parent / LENGTHS
    if kept.is_file():
        return float(json.loads(kept.read_text(encoding="utf-8"))["longest_seconds"])
    for shapes in config.get("train_shape_file") or ():
        if Path(shapes).name.startswith("speech_shape"):
            for place in _beside(shapes, path):
                if place.is_file():
                    return _longest(place, _sample_rate(config))
    return None


def write_lengths(experiment: str | Path) -> None:
    """Keep in an experiment's folder how long its training utterances were."""
    path = Path(experiment) / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    (path.parent / LENGTHS).unlink(missing_ok=True)  # of an earlier training
    seconds = trained_seconds(path, config)
    if seconds is not None:
        text = json.dumps({"longest_seconds": round(seconds, 4)})
        write_lines(path.parent / LENGTHS, [text])


def _longest(shapes: Path, rate: float) -> float | None:
    """Of a file of lines ``utterance samples``; None where those are no samples."""
    most = 0
    with open(shapes, encoding="utf-8") as lines:
        for line in lines:
            size = line.split()[-1] if line.strip() else "0"
            if not size.isdigit():  # frames and features: "300,80"
                return None
            most = max(most, int(size))
    return most / rate if most else None


def _sample_rate(config: Mapping[str, Any]) -> float:
    given = (config.get("frontend_conf") or {}).get("fs") or SAMPLE_RATE
    if isinstance(given, str):
        return float(given.removesuffix("k")) * (1000 if given.endswith("k") else 1)
    return float(given)
