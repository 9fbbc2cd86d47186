"""Systems to compare: experiments, their decodings and what they cost."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_smoe.report.scoring.bootstrap import Score
from espnet_smoe.report.scoring.clusters import resampled
from espnet_smoe.report.scoring.counts import TaskCounts, check_alike, count_tasks
from espnet_smoe.report.scoring.decodings import hypotheses_sum, is_decoded
from espnet_smoe.report.tables.experiment import (
    decode_info,
    mean,
    multiply_accumulates,
    parameters,
    training_seconds,
)

_SEED = re.compile(r"_seed(\d+)$")


@dataclass(frozen=True)
class System:
    """One system, decoded on the test set of the comparison.

    Attributes:
        name: Heading of its column.
        seeds: How many times it was trained.
        tasks: Task -> counts of every utterance.
        scores: Task -> group -> metric -> score.
        parameters: In all and active; None where unknown.
        multiply_accumulates: Of the encoder for one second of speech.
        rtf: Real-time factor of decoding: seconds a second of audio.
        training: Seconds spent in training.
        sums: Of the hypotheses of each seed (`hypotheses_sum`).
        decoding: Name of the folder that holds its decodings of test sets.
    """

    name: str
    seeds: int
    tasks: dict[str, TaskCounts]
    scores: dict[str, dict[str, dict[str, Score]]]
    parameters: tuple[int | None, int | None] = (None, None)
    multiply_accumulates: int | None = None
    rtf: float | None = None
    training: float | None = None
    sums: tuple[str, ...] = ()
    decoding: str = ""


@dataclass(frozen=True)
class Cell:
    """One entry: the value, and under it how it differs from the first system."""

    text: str
    note: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the comparison; ``section`` groups lines under a heading."""

    section: str
    label: str
    cells: list[Cell]


def load_system(
    name: str,
    data: Path | None,
    experiments: Sequence[Path],
    decode_dirs: Sequence[Path],
    letters: bool = False,
) -> System:
    """Read and score a system's decodings of the test set, one a seed.

    Args:
        name: Of the system.
        data: Data directory of the test set.
        experiments: One a seed.
        decode_dirs: Theirs.
        letters: Count errors of letters alone too.

    Raises:
        ValueError: Its trainings were not decoded alike: other tasks, metrics,
            utterances or options, or one of them is a copy of another.
    """
    _check_trainings(decode_dirs)
    runs = [count_tasks(data, decode_dir, letters) for decode_dir in decode_dirs]
    for run, decode_dir in zip(runs, decode_dirs):
        if list(run) != list(runs[0]):
            raise ValueError(
                f"{decode_dir} holds {', '.join(run)}, {decode_dirs[0]} "
                f"{', '.join(runs[0])}: decode the same tasks of every seed"
            )
        for task, counts in run.items():
            check_alike(task, runs[0][task], counts, (decode_dirs[0], decode_dir))
            if list(counts.counts) != list(runs[0][task].counts):
                raise ValueError(
                    f"{decode_dir}: {task} is scored by {', '.join(counts.counts)}, of "
                    f"{decode_dirs[0]} by {', '.join(runs[0][task].counts)}: give "
                    f"model_conf.tasks.{task} the same metrics and decode again"
                )
    tasks = {task: TaskCounts.of_seeds([run[task] for run in runs]) for task in runs[0]}
    return System(
        name=name,
        seeds=len(runs),
        tasks=tasks,
        scores={task: counts.scores() for task, counts in tasks.items()},
        parameters=parameters(experiments[0]),
        multiply_accumulates=multiply_accumulates(experiments[0]),
        rtf=mean([decode_info(d).get("rtf") for d in decode_dirs]),
        training=mean([training_seconds(e) for e in experiments]),
        sums=tuple(hypotheses_sum(d) for d in decode_dirs),
        decoding=decode_dirs[0].parent.name,
    )


def _check_trainings(decode_dirs: Sequence[Path]) -> None:
    """Refuse decodings with different options, or twice of one model, as seeds."""
    models: dict[str, Path] = {}
    for folder in decode_dirs:
        if folder.parent.name != decode_dirs[0].parent.name:
            raise ValueError(
                f"{folder} and {decode_dirs[0]} were not decoded alike: choose one way "
                "for every seed with --decode"
            )
        model = decode_info(folder).get("model")  # its fingerprint
        if model is not None and model in models:
            raise ValueError(
                f"{folder} and {models[model]} were decoded by the same model: a copy "
                "is no second training; leave one out"
            )
        models[model] = folder


def check_systems(systems: Sequence[System]) -> None:
    """Refuse systems whose scores of a task are not of the same references.

    Raises:
        ValueError: Names the task and two systems.
    """
    for task in tasks_of(systems):
        first, *others = [s for s in systems if task in s.tasks]
        for other in others:
            names = first.name, other.name
            check_alike(task, first.tasks[task], other.tasks[task], names)


def by_system(experiments: Sequence[Path]) -> dict[str, list[Path]]:
    """Trainings of each system, by their seeds: those of two systems are compared.

    Example:
        >>> list(by_system([Path("exp/base_seed1"), Path("exp/base_seed2")]))
        ['base']

    Raises:
        ValueError: A folder is given twice: one training is no two seeds.
    """
    systems: dict[str, list[Path]] = {}
    folders: dict[Path, Path] = {}
    for experiment in experiments:
        folder = experiment.resolve()
        if folder in folders:
            other = folders[folder]
            also = f", also as {other}" if other != experiment else ""
            raise ValueError(
                f"{experiment} is given twice{also}: give each training once"
            )
        folders[folder] = experiment
    tags = [folder.name for folder in folders]
    for experiment, tag in zip(experiments, tags):
        unclear = tags.count(tag) > 1  # the same name in two folders
        name = str(experiment) if unclear else _SEED.sub("", tag)
        systems.setdefault(name, []).append(experiment)
    return {name: sorted(runs, key=_seed_of) for name, runs in systems.items()}


def _seed_of(experiment: Path) -> int:
    seed = _SEED.search(experiment.resolve().name)
    return int(seed[1]) if seed else 0


def tasks_of(systems: Sequence[System]) -> list[str]:
    """Every task that one of the systems was scored for, each once."""
    return list(dict.fromkeys(task for system in systems for task in system.tasks))


def groups_with_line(counts: TaskCounts, every_condition: bool) -> list[str]:
    """Groups with a line; one that is the whole test set would repeat ``all``."""
    whole = len(counts.groups["all"][0])
    return [
        group
        for group, strata in counts.groups.items()
        if group == "all"
        or len(strata[0]) < whole
        and (every_condition or group.startswith("mean_"))
    ]


def find_decode(experiment: Path, decode: str | None, test_set: str) -> Path:
    """Directory of the decoding to compare.

    Args:
        experiment: Of a recipe of ours, with ``decode_<name>/<test set>``, or of
            ESPnet's asr.sh, with ``<inference_tag>/<test set>``.
        decode: Name of the decoding, with or without ``decode_``; the only one when
            None.
        test_set: Its name.

    Raises:
        ValueError: No such experiment or decoding, or more than one fits.
    """
    if not experiment.is_dir():
        raise ValueError(f"{experiment} does not exist: run stage 11 (train)")
    if decode is not None:
        as_it_is = experiment / decode / test_set
        if as_it_is.is_dir():
            return as_it_is
        return experiment / f"decode_{decode.removeprefix('decode_')}" / test_set
    found = sorted(
        folder
        for folder in experiment.glob(f"*/{test_set}")
        if folder.is_dir()
        and (is_decoded(folder) or folder.match(f"decode_*/{test_set}"))
    )
    if not found:
        raise ValueError(
            f"{experiment}/decode_*/{test_set} does not exist or holds no hypotheses: "
            "run stage 12 (decode)"
        )
    if len(found) > 1:
        names = ", ".join(p.relative_to(experiment).parts[0] for p in found)
        raise ValueError(f"{experiment} has {names}: choose one with --decode")
    return found[0]


def find_data(data: Path | None, test_set: str) -> Path | None:
    """The data directory of a test set: as given, else where recipes keep it.

    None where there is none, as when an experiment of ESPnet's asr.sh was moved; its
    decodings have their references beside them.
    """
    if data is not None:
        return data
    places = Path("data") / test_set, Path("dump/raw") / test_set
    return next((place for place in places if place.is_dir()), None)


def explain_units(systems: Sequence[System]) -> str:
    """What the intervals of a comparison speak of, in words."""
    counts = next(iter(systems[0].tasks.values()))
    score = next(iter(systems[0].scores[next(iter(systems[0].tasks))]["all"].values()))
    return resampled(counts.clusters.by, score.units, counts.clusters.why)
