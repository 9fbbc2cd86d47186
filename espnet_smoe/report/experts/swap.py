"""Scores with the wrong experts: the same recordings decoded with swapped labels.

Only the experts are swapped. The prompt, its embedding and everything else stay, so
whatever changes is due to the experts.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import nn

from espnet_smoe.data.task_table import TaskRow, targets_of
from espnet_smoe.inference.audio import read_audio
from espnet_smoe.inference.speech_to_text import AUTO, SpeechToText
from espnet_smoe.report.experts.data import Recording
from espnet_smoe.report.experts.probe import mixtures
from espnet_smoe.report.scoring.counts import TaskCounts, clusters_in, group_utterances
from espnet_smoe.report.scoring.metrics import METRICS
from espnet_smoe.report.scoring.pairing import in_one_form
from espnet_smoe.report.tables.system import System

RIGHT = "right experts"
GROUP_SIZE = 64  # recordings read at once: enough to find some of like length


@contextmanager
def swapped(model: nn.Module, part: str) -> Iterator[None]:
    """Send every utterance of a part to the next label's expert, for a while.

    Where gates read no label, each frame goes to the expert after the one chosen.

    Args:
        model: A model whose ``part`` has mixtures.
        part: ``encoder`` or ``decoder``.
    """
    labels = getattr(getattr(model, part), "labels", None)
    if labels is not None:
        table = labels.number_of_token  # (V,), negative where a token is no label
        turned = torch.where(table < 0, table, (table + 1) % len(labels.names))
        labels.number_of_token = turned
        try:
            yield
        finally:
            labels.number_of_token = table
        return
    before = [(layer, layer.experts) for layer in mixtures(model)[part]]
    for layer, experts in before:
        layer.experts = nn.ModuleList([*experts[1:], experts[0]])
    try:
        yield
    finally:
        for layer, experts in before:
            layer.experts = experts


def decode_swapped(
    speech_to_text: SpeechToText, recordings: Sequence[Recording], data: Path
) -> list[System]:
    """Decode and score with the right experts, then with those of each part swapped.

    Args:
        speech_to_text: The model.
        recordings: From `report.experts.data.read_recordings`.
        data: Their data directory, for groups by condition and bandwidth.

    Returns:
        The right experts first; for `compare.compare`.

    Raises:
        ValueError: No recording has a text that can be scored.
    """
    from tqdm import tqdm

    model = speech_to_text.model
    ways: dict[str, Callable[[], AbstractContextManager]] = {RIGHT: nullcontext}
    for part in mixtures(model):
        ways[f"{part} swapped"] = partial(swapped, model, part)
    table = model.task_table
    tasks = [t for t in table if _having(recordings, table[t])]
    if not tasks:
        targets = " or ".join(targets_of(table))
        raise ValueError(f"{data} has no {targets} to score against")
    texts = {way: {task: {} for task in tasks} for way in ways}
    reads_label = model.encoder_labels is not None
    for group in tqdm(_groups(recordings), unit="group", mininterval=10):
        waves = [read_audio(r.path)[0] for r in group]
        labels = [r.label if reads_label else AUTO for r in group]
        names = [r.name for r in group]
        for way, swap in ways.items():
            with swap():
                speaking = speech_to_text.in_language(group[0].language)
                found = speaking.recognize_long(waves, labels, tasks, names, True)
            for name, results in zip(names, found):
                for task in tasks:
                    texts[way][task][name] = results[task].text
    return [
        _system(way, {t: _count(recordings, table[t], of[t], data) for t in tasks})
        for way, of in texts.items()
    ]


def _groups(recordings: Sequence[Recording]) -> list[Sequence[Recording]]:
    """Recordings of one language, a few together."""
    spoken: dict[str, list[Recording]] = {}
    for recording in recordings:
        spoken.setdefault(recording.language or "", []).append(recording)
    return [
        of_one[start : start + GROUP_SIZE]
        for of_one in spoken.values()
        for start in range(0, len(of_one), GROUP_SIZE)
    ]


def _system(name: str, tasks: dict[str, TaskCounts]) -> System:
    scores = {task: counts.scores() for task, counts in tasks.items()}
    return System(name, 1, tasks, scores)


def _having(recordings: Sequence[Recording], row: TaskRow) -> list[Recording]:
    return [r for r in recordings if row.target in r.texts]


def _count(
    recordings: Sequence[Recording], row: TaskRow, texts: dict[str, str], data: Path
) -> TaskCounts:
    scored = _having(recordings, row)
    utts = [r.name for r in scored]
    references, hypotheses, _ = in_one_form(
        {r.name: r.texts[row.target] for r in scored}, {utt: texts[utt] for utt in utts}
    )
    refs, hyps = list(references.values()), list(hypotheses.values())
    return TaskCounts(
        counts={
            m: METRICS[m].counts(refs, hyps, row.language) for m in row.metrics[:1]
        },
        groups=group_utterances(data, utts),
        clusters=clusters_in(data, utts),
        utts=utts,
        texts=(refs, hyps),
    )
