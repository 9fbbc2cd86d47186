"""The last page of a recipe: scores, examples, places of files, commands to try.

    python3 -m espnet_smoe.report.tables.overview --exp exp/train --decode default \\
        --data dump/raw --sets test test_nbwb

Everything fits 80 columns, but paths, which are absolute: they can be copied.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.report.scoring.decodings import read_decoded
from espnet_smoe.report.scoring.metrics import METRICS
from espnet_smoe.report.scoring.pairing import read_text
from espnet_smoe.report.tables import page
from espnet_smoe.report.tables.curves import read_curves
from espnet_smoe.report.tables.experiment import (
    decode_info,
    parameters,
    read_scores,
    training_seconds,
)
from espnet_smoe.report.tables.number_format import (
    count,
    duration,
    group_label,
    with_interval,
)
from espnet_smoe.report.tables.page import Pair

ALSO = "cer_no_space"  # shown beside the first metric of a task
EXAMPLES = 5


def rows_of(scores: dict[str, dict]) -> tuple[list[str], list[list[str]]]:
    """The scores of all test sets.

    Args:
        scores: Set -> content of its ``scores.json``.

    Returns:
        Headings of the scores; a row a set, and one for each of its conditions if there
        are several: name, number of utterances, scores.
    """
    known = {task: of["all"] for tasks in scores.values() for task, of in tasks.items()}
    columns = [
        (task, metric)
        for task, metrics in known.items()
        for metric in metrics
        if metric in (next(iter(metrics)), ALSO)
    ]
    rows = []
    for name, tasks in scores.items():
        groups = dict.fromkeys(group for task in tasks.values() for group in task)
        for group in groups:
            values = [tasks.get(t, {}).get(group, {}).get(m) for t, m in columns]
            whole = [tasks.get(t, {}).get("all", {}).get(m) for t, m in columns]
            if not any(values) or (group != "all" and values == whole):
                continue  # a set of one condition has the same scores three times
            label = name if group == "all" else f"  {group_label(group)}"
            # tasks differ where some utterances have no translation
            sizes = dict.fromkeys(str(value["n"]) for value in values if value)
            cells = [with_interval(value, digits=1) for value in values]
            rows.append([label, " / ".join(sizes), *cells])
    return [_head(*column, columns) for column in columns], rows


def table(scores: dict[str, dict]) -> str:
    """One table of all test sets, see `rows_of`, for a terminal."""
    heads, rows = rows_of(scores)
    width = max(14, *map(len, scores))
    room = max([6, *(1 + len(size) for _, size, *_ in rows)])
    lines = [[f"{'':{width}}", f"{'n':>{room}}", *(f"{head:>20}" for head in heads)]]
    for label, size, *cells in rows:
        padded = (f"{cell:>20}" for cell in cells)
        lines.append([f"{label:{width}}", f"{size:>{room}}", *padded])
    return "\n".join("".join(line) for line in lines)


def _head(task: str, metric: str, columns: Sequence[tuple[str, str]]) -> str:
    """Of a column; with the task where several are scored alike."""
    label = METRICS[metric].label.replace("without", "w/o")
    alike = sum(other == metric for _, other in columns) > 1
    return f"{task} {label}" if alike else label


def chosen(data: Path, most: int) -> dict[str, Path]:
    """Utterances from all over a data directory, and their audio files."""
    waves = read_text(data / "wav.scp", "run stage 4 (filter) again")
    names = list(waves)
    some = names[:: max(1, len(names) // most)][:most]
    return {name: Path(waves[name]).absolute() for name in some}


def examples(
    data: Path, decoded: Path, most: int = EXAMPLES
) -> list[tuple[Path, list[Pair]]]:
    """Sentences of a test set, from all over it, as the model understood them.

    Args:
        data: Its data directory.
        decoded: The folder of its hypotheses.
        most: How many.

    Returns:
        Audio file; for each task its title, what was recognised and what is true.

    Raises:
        ValueError: A file is missing, or names another utterance.
    """
    waves = chosen(data, most)
    cure = "run stages 12 and 13 (decode, score) again"
    pairs = {}
    for task, of_task in read_decoded(decoded, data).items():
        target = data / of_task.row.target
        title = of_task.row.title
        title = f"{title} {task}" if title in pairs else title
        references = read_text(target, cure) if target.is_file() else {}
        pairs[title] = of_task.hypotheses, references
    return [
        (
            wave,
            [
                (title, hypotheses.get(name, "-"), references.get(name, "-"))
                for title, (hypotheses, references) in pairs.items()
            ],
        )
        for name, wave in waves.items()
    ]


def _paragraph(wave: Path, pairs: Sequence[Pair]) -> str:
    lines = [str(wave)]
    for title, found, true in pairs:
        lines += [f"  {title:12} {found}", f"  {'  true':12} {true}"]
    return "\n".join(lines)


def commands(args: argparse.Namespace, has_experts: bool) -> list[str]:
    """What to try next, to be copied into a shell.

    Args:
        args: Of `get_parser`.
        has_experts: Whether the model has any to look into.
    """
    found = []
    if sys.prefix != sys.base_prefix:
        found.append(f". {_quoted(Path(sys.prefix) / 'bin/activate')}")
    found.append(f"cd {_quoted(Path.cwd())}")
    packed = args.zip is not None and args.zip.exists()
    waves = list(chosen(args.data / args.sets[0], EXAMPLES).values())
    model, wave = args.zip if packed else args.exp, waves[len(waves) // 2]
    found.append("# a recording, transcribed and translated")
    found.append(f"espnet-smoe transcribe --model {_quoted(model)} {_quoted(wave)}")
    if has_experts:
        last = args.sets[-1]  # the one with the conditions, where there are any
        info = decode_info(args.exp / f"decode_{args.decode}" / last)
        found.append("# what the experts do, and what the wrong one costs")
        found.append(
            f"espnet-smoe experts {_quoted(args.exp)} --data "
            f"{_quoted(args.data / last)} --ctc-weight {info.get('ctc_weight', 0)} "
            "--limit 50"
        )
    if args.next:
        found += ["# another system, trained in the same way, beside it", *args.next]
    return found


def _intervals(tasks: dict) -> str:
    """What is in brackets, in a line."""
    first = next(iter(next(iter(tasks.values()))["all"].values()))
    over = first.get("resampled", "utterances")  # of an earlier version
    units = over.partition(",")[0].partition(" (")[0]
    return f"(in brackets: 95 % intervals over {units})"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path.absolute()))


def overview(args: argparse.Namespace) -> str:
    """The whole text.

    Args:
        args: Of `get_parser`.

    Raises:
        ValueError: Something has not been made yet; names the stage.
    """
    decoded = args.exp / f"decode_{args.decode}"
    scores = {name: read_scores(decoded / name) for name in args.sets}
    total, active = parameters(args.exp)
    first = args.sets[0]
    shown = examples(args.data / first, decoded / first)
    about = (
        f"{count(total)} parameters, {count(active)} active; "
        f"trained in {duration(training_seconds(args.exp))}"
    )
    found = commands(args, total != active)
    if args.html is not None:
        _write_page(args, scores, about, shown, found)
    places = {
        "page": args.html,
        "results": args.results,
        "model": args.exp,
        "packed model": args.zip,
        "training log": args.exp / "train.log",
    }
    parts = [
        f"{args.exp.name}: {about}",
        f"{table(scores)}\n{_intervals(scores[first])}",
        f"{len(shown)} sentences of {first}:\n\n"
        + "\n".join(_paragraph(*example) for example in shown),
        "\n".join(
            f"{what + ':':14}{path.absolute()}"
            for what, path in places.items()
            if path is not None and path.exists()
        ),
        "Try next:\n\n" + "\n".join(f"  {line}" for line in found),
    ]
    return "\n\n".join(parts)


def _write_page(
    args: argparse.Namespace,
    scores: dict[str, dict],
    about: str,
    shown: list[tuple[Path, list[Pair]]],
    found: list[str],
) -> None:
    """What the text says, and the curves of the training, as HTML."""
    first = args.sets[0]
    heads, rows = rows_of(scores)
    commands = "\n".join(found)
    sentences = [page.sentence(*example, args.html.parent) for example in shown]
    sections = {
        "Scores": page.table(["", "n", *heads], rows, _intervals(scores[first])),
        f"{len(shown)} sentences of {first}": "\n".join(sentences),
        "Training, measured on the validation set": _curves(args.exp),
        "Try next": f"<pre>{escape(commands)}</pre>",
    }
    write_lines(args.html, [page.page(args.exp.name, about, sections)])


def _curves(exp: Path) -> str:
    """Pictures of the validation's loss and error rates; none where no log is left."""
    try:
        curves = read_curves(exp)
    except (OSError, ValueError):
        return ""
    names = [n for n in curves if n == "loss" or n.startswith(("wer_", "cer_ctc"))]
    return "\n".join(page.curve(name, curves[name]) for name in names)


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.report.tables.overview", __doc__)
    add = parser.add_argument
    add("--exp", type=Path, required=True, help="folder of the experiment")
    add("--decode", required=True, help="NAME of its decode_NAME")
    add("--data", type=Path, required=True, help="folder of the test sets")
    add("--sets", nargs="+", required=True, help="names of the test sets")
    add("--results", type=Path, help="the tables that stage 13 has written")
    add("--html", type=Path, help="write it as a page for a browser, too")
    add("--zip", type=Path, help="the model that stage 14 has packed")
    add(
        *("--next", "--rival"),  # the second: its name until 0.1
        action="append",
        default=[],
        help="a command that trains another system, or compares the two",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Print it."""
    args = get_parser().parse_args(argv)
    print("\n" + overview(args) + "\n")


if __name__ == "__main__":
    sys.exit(run_command(main))
