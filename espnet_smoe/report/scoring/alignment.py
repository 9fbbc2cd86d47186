"""Errors one by one: ``result.txt`` as sclite writes it, and the worst utterances.

The summary has the columns of sclite's, so that tools that read its ``Sum/Avg`` line,
as ESPnet's ``show_asr_result.sh`` does, read this one. Unlike sclite's, the utterances
come from the most errors to the fewest.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import jiwer
import numpy as np
from rich.cells import cell_len

from espnet_smoe.report.scoring.counts import TaskCounts
from espnet_smoe.report.scoring.metrics import METRICS, REFERENCE_SIZE, align_units
from espnet_smoe.report.tables.number_format import percent

GAP = "*"
SPACE = "<space>"
LETTERS = {"substitute": "S", "delete": "D", "insert": "I", "equal": ""}
HEADS = ("# Snt", "# Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err")


def write_alignments(folder: Path, counts: TaskCounts) -> list[Path]:
    """Write ``score_<metric>/result.txt`` for every error rate of a task.

    Args:
        folder: Decoding folder.
        counts: Of one decoding.

    Returns:
        The files.
    """
    written = []
    for name in counts.counts:
        if METRICS[name].split is None:
            continue
        path = folder / f"score_{name}" / "result.txt"
        if (path.parent / "ref.trn").is_file():  # sclite's own result, which stays
            path = path.with_name("alignment.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join(_lines(counts, name))
        path.write_text(f"{text}\n", encoding="utf-8")
        written.append(path)
    return written


def edits_table(counts: np.ndarray) -> list[str]:
    """Cells under `HEADS` for counts of an error rate, rates in percent.

    Args:
        counts: (N, K) of some utterances.

    Example:
        >>> edits_table(np.array([[1, 4, 1, 0, 0], [0, 4, 0, 0, 0]]))
        ['2', '8', '87.5', '12.5', '0.0', '0.0', '12.5', '50.0']
    """
    errors, size, replaced, deleted, inserted = counts.sum(axis=0)
    parts = (size - replaced - deleted, replaced, deleted, inserted, errors)
    rates = [percent(100 * part / size if size else None) for part in parts]
    wrong = percent(100 * float(np.mean(counts[:, 0] > 0)))
    return [str(len(counts)), f"{size:.0f}", *rates, wrong]


def worst(counts: TaskCounts) -> np.ndarray:
    """Rows of a task's utterances, the worst first; those without a fault are left out.

    By the number of errors, then by the error rate; of translations by their own BLEU.
    """
    name = next(iter(counts.counts))
    metric, of = METRICS[name], counts.counts[name]
    if metric.split is None:
        score = metric.formula(of)
        # one of fewer than four words has no BLEU of its own, right as it may be
        right = [hyp == ref for ref, hyp in zip(*counts.texts)]
        faulty = np.flatnonzero((score < 100) & ~np.array(right))
        return faulty[np.argsort(score[faulty], kind="stable")]
    return _by_errors(of)


def _by_errors(counts: np.ndarray) -> np.ndarray:
    faulty = np.flatnonzero(counts[:, 0] > 0)
    errors, size = counts[faulty, 0], counts[faulty, REFERENCE_SIZE]
    return faulty[np.lexsort((size, -errors))]


def _lines(counts: TaskCounts, name: str) -> Iterator[str]:
    """Summary by speaker, then every utterance."""
    metric, of = METRICS[name], counts.counts[name]
    yield f"{metric.label}; utterances follow, from the most errors to the fewest"
    yield ""
    yield from _summary(counts, of)
    rows = _by_errors(of)
    rest = np.setdiff1d(np.arange(len(of)), rows)
    references, hypotheses = counts.texts
    for row in [*rows, *rest]:
        speaker = f"  speaker: {counts.speakers[row]}" if counts.speakers else ""
        _, size, replaced, deleted, inserted = of[row].astype(int)
        yield ""
        yield f"id: ({counts.utts[row]}){speaker}"
        yield f"Scores: (#C #S #D #I) {size - replaced - deleted} {replaced} " + (
            f"{deleted} {inserted}"
        )
        aligned = align_units([references[row]], [hypotheses[row]], metric.split)
        yield from _aligned(aligned)


def _summary(counts: TaskCounts, of: np.ndarray) -> Iterator[str]:
    rows = []
    if counts.speakers:
        speakers = np.array(counts.speakers)
        rows = [[s, *edits_table(of[speakers == s])] for s in sorted(set(speakers))]
    rows.append(["Sum/Avg", *edits_table(of)])
    table = [["SPKR", *HEADS], *rows]
    widths = [max(cell_len(line[i]) for line in table) for i in range(len(table[0]))]
    for name, *numbers in table:
        cells = [_padded(c, w, left=False) for c, w in zip(numbers, widths[1:])]
        first = _padded(name, widths[0])
        yield f"| {first} | {' '.join(cells[:2])} | {'  '.join(cells[2:])} |"


def _aligned(output: jiwer.WordOutput) -> Iterator[str]:
    """Reference, hypothesis and kinds of errors of one utterance, below each other."""
    columns = [["REF:"], ["HYP:"], ["Eval:"]]
    (reference,), (hypothesis,) = output.references, output.hypotheses
    for chunk in output.alignments[0]:
        refs = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        hyps = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        for i in range(max(len(refs), len(hyps))):
            units = (*refs[i : i + 1], *hyps[i : i + 1])  # beside a gap only one
            pair = [SPACE if unit == " " else unit for unit in units]
            if len(pair) == 1:
                gap = GAP * cell_len(pair[0])
                pair = [gap, *pair] if chunk.type == "insert" else [*pair, gap]
            for column, text in zip(columns, (*pair, LETTERS[chunk.type])):
                column.append(text)
    widths = [max(map(cell_len, cells)) for cells in zip(*columns)]
    for column in columns:
        yield " ".join(map(_padded, column, widths)).rstrip()


def _padded(text: str, width: int, left: bool = True) -> str:
    """Of that many cells of a terminal, where a Hangul syllable takes two."""
    space = " " * (width - cell_len(text))
    return text + space if left else space + text


def worst_lines(counts: TaskCounts, most: int) -> Sequence[str]:
    """Lines that show the utterances with the most errors of a task.

    Args:
        counts: Of one decoding.
        most: How many.
    """
    name = next(iter(counts.counts))
    metric, of = METRICS[name], counts.counts[name]
    references, hypotheses = counts.texts
    lines = []
    for row in worst(counts)[:most]:
        if metric.split is None:
            summary = f"{metric.label} {metric.formula(of[row : row + 1])[0]:.1f}"
        else:
            errors, size, replaced, deleted, inserted = of[row].astype(int)
            summary = (
                f"{errors} errors in {size} (S {replaced} D {deleted} I {inserted})"
            )
        lines.append(f"  {counts.utts[row]}  {summary}")
        lines += [f"    REF {references[row]}", f"    HYP {hypotheses[row]}"]
    return lines
