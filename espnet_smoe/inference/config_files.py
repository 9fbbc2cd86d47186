"""A training configuration, the files that it names, and what it was trained on.

Nothing here loads torch: packing a model must not.
"""

import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from espnet_smoe.config.options import make
from espnet_smoe.config.typed import Above0, Range
from espnet_smoe.config.yaml_file import read_yaml
from espnet_smoe.data.data_dir import write_lines

FILE_KEYS = (("bpemodel",), ("token_list",), ("normalize_conf", "stats_file"))
LENGTHS = "lengths.json"  # beside the configuration: how long training speech was
DECODING = "decode.yaml"  # beside the configuration: how the model decodes
UTTERANCES = 50  # that tell how those of training begin and end
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
    config = read_yaml(path, empty=True)
    tokens = config.get("token_list")
    if not tokens or not isinstance(tokens, (str, list)):
        raise ValueError(
            f"{path} is no training configuration; give the config.yaml that training "
            "wrote into the experiment's folder"
        )
    for name, options in config.items():
        if name.endswith("_conf") and options and not isinstance(options, dict):
            raise ValueError(
                f"{path}: {name} is {options!r}, no section of options; give the "
                "config.yaml that training wrote"
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


@dataclass(frozen=True)
class Lengths:
    """What the training utterances of a model had in common, as far as is known.

    Attributes:
        longest_seconds: The longest of them.
        lead_seconds: Before the first word, the median.
        tail_seconds: Behind the last, the median.
    """

    longest_seconds: Above0 | None = None
    lead_seconds: Annotated[float, Range(0)] | None = None
    tail_seconds: Annotated[float, Range(0)] | None = None


def trained_lengths(path: Path, config: Mapping[str, Any]) -> Lengths:
    """How long the training utterances of a model were, and how they began.

    Args:
        path: Where its configuration is.
        config: Its content.

    Returns:
        What `LENGTHS` beside it tells, or else the statistics of stage 10 and the
        training data, where they are still there.

    Raises:
        ValueError: `LENGTHS` is damaged.
    """
    kept = path.parent / LENGTHS
    if kept.is_file():
        return make(Lengths, read_yaml(kept), str(kept))
    from espnet_smoe.data.speech.shard import KIND as SHARD

    seconds, margins = training_seconds(path, config), (None, None)
    longest = max(seconds) if seconds else None
    for data in config.get("train_data_path_and_name_and_type") or ():
        if data[1:] in (["speech", "sound"], ["speech", SHARD]) and margins[0] is None:
            margins = _margins(data[0], path)
    return Lengths(longest, *margins)


def write_lengths(experiment: str | Path) -> None:
    """Keep `Lengths` in an experiment's folder, and thus in its zip file."""
    path = Path(experiment) / "config.yaml"
    config = read_yaml(path)
    (path.parent / LENGTHS).unlink(missing_ok=True)  # of an earlier training
    found = asdict(trained_lengths(path, config))
    lengths = {
        key: round(value, 4) for key, value in found.items() if value is not None
    }
    if lengths:
        write_lines(path.parent / LENGTHS, [json.dumps(lengths)])


def _margins(wav_scp: str, config: Path) -> tuple[float | None, float | None]:
    """Seconds before the first word and behind the last, medians of some utterances."""
    from espnet_smoe.data.speech.audio import read_audio, resample
    from espnet_smoe.inference.long_form.speech_activity import onset, speech_spans

    table = next((p for p in _beside(wav_scp, config) if p.is_file()), None)
    lines = table.read_text(encoding="utf-8").splitlines() if table else []
    leads, tails = [], []
    for line in lines[:: max(1, len(lines) // UTTERANCES)]:
        for place in _beside(line.partition(" ")[2].strip(), config):
            try:
                wave = resample(*read_audio(place))
            except (ValueError, OSError):  # a pipe, or gone
                continue
            if spans := speech_spans(wave):
                leads.append(onset(wave, spans[0].start) / SAMPLE_RATE)
                tails.append((len(wave) - spans[-1].end) / SAMPLE_RATE)
            break
    if not leads:
        return None, None
    return float(statistics.median(leads)), float(statistics.median(tails))


def own_decoding(train_config: str | Path) -> Path | None:
    """The decoding YAML that came with a model; None where it came without.

    Stage 14 puts it there: a text is then the one that was scored, unless a user asks
    for something else.

    Args:
        train_config: Its training configuration.
    """
    path = Path(train_config).with_name(DECODING)
    return path if path.is_file() else None


def training_seconds(path: Path, config: Mapping[str, Any]) -> list[float] | None:
    """Of each training utterance; None where the statistics of stage 10 are gone.

    Args:
        path: Where the configuration is.
        config: Its content.
    """
    for shapes in config.get("train_shape_file") or ():
        if Path(shapes).name.startswith("speech_shape"):
            for place in _beside(shapes, path):
                if place.is_file():
                    return _seconds(place, sample_rate(config))
    return None


def _seconds(shapes: Path, rate: float) -> list[float] | None:
    """Of a file of lines ``utterance samples``; None where those are no samples."""
    found = []
    with open(shapes, encoding="utf-8") as lines:
        for line in lines:
            size = line.split()[-1] if line.strip() else "0"
            if not size.isdigit():  # frames and features: "300,80"
                return None
            found.append(int(size) / rate)
    return found


def check_sample_rate(config: Mapping[str, Any], place: str | Path) -> None:
    """Refuse a model that was trained at another rate than recordings are brought to.

    Args:
        config: Training configuration.
        place: Where it is, for the message.

    Raises:
        ValueError: Its front-end is for another rate.
    """
    rate = sample_rate(config)
    if rate != SAMPLE_RATE:
        raise ValueError(
            f"{place}: the model is for {rate:g} Hz (frontend_conf.fs); only models of "
            f"{SAMPLE_RATE} Hz are supported"
        )


def sample_rate(config: Mapping[str, Any]) -> float:
    """Hz of the audio that a model was trained on, as its front-end has it."""
    given = (config.get("frontend_conf") or {}).get("fs") or SAMPLE_RATE
    try:
        if isinstance(given, str) and given.endswith("k"):
            return float(given[:-1]) * 1000
        return float(given)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"frontend_conf.fs: '{given}' is no sampling rate; write 16000 or 16k"
        ) from error
