"""Writing a recipe's ``RESULTS.md`` from ``scores.json`` files or comparisons.

Only the part between the two marks is rewritten; what people wrote around it
stays.
"""

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.report.scoring.metrics import EDITS, METRICS
from espnet_smoe.report.tables.experiment import (
    decode_info,
    parameters,
    read_scores,
    scored,
    training_seconds,
)
from espnet_smoe.report.tables.number_format import (
    count,
    duration,
    factor,
    group_label,
    markdown_row,
    percent,
    with_interval,
)
from espnet_smoe.version import __version__

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"


def environment(directory: Path) -> dict[str, str]:
    """What the numbers were made with.

    Args:
        directory: Any directory of the checkout whose git hash is wanted.

    Returns:
        Name -> value, in the order to print.
    """
    return {
        "date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "espnet": _version("espnet"),
        "espnet_smoe": __version__,
        "git": git_hash(directory),
        "machine": f"{platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} CPU cores",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def git_hash(directory: Path) -> str:
    """Commit of the checkout, with ``-dirty`` if tracked files differ from it.

    ``RESULTS.md`` itself does not count: writing it must not make it dirty.
    """
    commit = _git(directory, "rev-parse", "HEAD")
    if not commit:
        return "not a git checkout"
    changed = _git(
        directory,
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ":/",
        ":(exclude,top,glob)**/RESULTS.md",
    )
    return commit + ("-dirty" if changed else "")


def _git(directory: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:  # no git on this machine
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def results_block(
    experiments: Sequence[Path],
    command: str,
    facts: dict[str, str],
    comparisons: Sequence[Path] = (),
) -> str:
    """The Markdown between the marks.

    Args:
        experiments: Experiment directories with scored decodings.
        command: The command that made the results.
        facts: What ``environment`` returns.
        comparisons: Markdown files of ``espnet-smoe compare``.

    Returns:
        Markdown without the marks.

    Raises:
        ValueError: An experiment does not exist or has no scores, or a comparison
            does not exist.
    """
    parts = ["## Environment", "\n".join(f"- {k}: `{v}`" for k, v in facts.items())]
    parts += ["## Command", f"```sh\n{command}\n```"]
    parts += [_comparison(path) for path in comparisons]
    if experiments:
        parts.append("## Scores")
        parts += _scores(experiments)
    return "\n\n".join(parts)


def _comparison(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"{path} does not exist: espnet-smoe compare writes it")
    return f"#{path.read_text(encoding='utf-8').strip()}"  # a heading lower


def _scores(experiments: Sequence[Path]) -> list[str]:
    parts = [
        "In brackets the 95 % bootstrap interval of this one training. Sub, Del and "
        "Ins are the parts of the error rate before them, in percent. `mean of` rows: "
        "the mean over the conditions of that bandwidth."
    ]
    for experiment in experiments:
        total, active = parameters(experiment)
        parts.append(f"### {experiment.name}")
        parts.append(
            f"Parameters: {count(total)} in all, {count(active)} active. "
            f"Training time: {duration(training_seconds(experiment))}."
        )
        for decode in scored(experiment):
            rtf = factor(decode_info(decode).get("rtf"))
            parts.append(f"**{decode.parent.name}/{decode.name}**, RTF {rtf}")
            scores = read_scores(decode)
            parts.append(scores_table(scores))
            parts.append(_below(scores, decode))
    return parts


def _below(scores: dict, decode: Path) -> str:
    """What was resampled, and where the aligned errors are."""
    first = next(iter(scores.values()))["all"]
    # scores.json of before 2026-11 does not say: utterances were
    over = next(iter(first.values())).get("resampled", "utterances")
    aligned = sorted(decode.glob("score_*/result.txt"))
    where = ", ".join(f"`{'/'.join(path.parts[-4:])}`" for path in aligned)
    note = f"Resampled: {over}."
    return f"{note} The errors one by one: {where}." if aligned else note


def scores_table(scores: dict) -> str:
    """One Markdown table: a row a condition, a column a metric of every task."""
    columns = [(t, m) for t, groups in scores.items() for m in groups["all"]]
    groups = dict.fromkeys(g for task in scores.values() for g in task)
    # a set of one condition has the same scores three times
    alike = [g for g in groups if all(_same_as_all(s, g) for s in scores.values())]
    groups = [g for g in groups if g == "all" or g not in alike]
    with_edits = {  # the error rates with Sub, Del and Ins: the first of each task
        (task, metric)
        for task, of in scores.items()
        for metric in list(of["all"])[:1]
        if METRICS[metric].split is not None
    }
    heads = []
    for task, metric in columns:
        heads.append(f"{task} {METRICS[metric].label}")
        heads += ["Sub", "Del", "Ins"] if (task, metric) in with_edits else []
    lines = ["| condition | n | " + " | ".join(heads) + " |"]
    lines.append("|---|" + "---:|" * (len(heads) + 1))
    for group in groups:
        row, sizes = [], {}
        for task, metric in columns:
            score = scores[task].get(group, {}).get(metric)
            row.append(with_interval(score))
            if (task, metric) in with_edits:
                row += [percent((score or {}).get(kind)) for kind in EDITS]
            sizes |= {str(score["n"]): None} if score else {}
        cells = [group_label(group), " / ".join(sizes), *row]
        lines.append(markdown_row(cells))
    return "\n".join(lines)


def _same_as_all(groups: dict, group: str) -> bool:
    """Whether a group's scores are those of the whole set."""
    return groups.get(group) == groups["all"]


def replace_block(text: str, block: str, place: str) -> str:
    """Put ``block`` between the marks of ``text``; without marks, at its end.

    Raises:
        ValueError: One mark without the other, or more than one pair.
    """
    marked = f"{BEGIN}\n{block}\n{END}"
    if BEGIN not in text and END not in text:
        before = text.rstrip("\n")
        return f"{before}\n\n{marked}\n" if before else f"{marked}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise ValueError(
            f"{place}: needs {BEGIN} once and after it {END} once: mend the marks"
        )
    return before + marked + after


def get_parser() -> argparse.ArgumentParser:
    """Options of ``python3 -m espnet_smoe.report.tables.results``."""
    parser = new_parser(
        "python3 -m espnet_smoe.report.tables.results",
        "Write RESULTS.md of a recipe from scores.json files.",
    )
    parser.add_argument(
        "--exp",
        type=Path,
        nargs="+",
        default=[],
        help="experiment directories with decode_*/*/scores.json",
    )
    parser.add_argument(
        "--comparison",
        type=Path,
        nargs="+",
        default=[],
        help="Markdown files that espnet-smoe compare wrote",
    )
    parser.add_argument("--out", type=Path, default=Path("RESULTS.md"))
    parser.add_argument(
        "--command", required=True, help="the command that made the results"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Rewrite the marked part of ``RESULTS.md``, and print it."""
    parser = get_parser()
    args = parser.parse_args(argv)
    if not args.exp and not args.comparison:
        parser.error("give --exp or --comparison")
    facts = environment(args.out.resolve().parent)
    block = results_block(args.exp, args.command, facts, args.comparison)
    old = "# Results\n"
    if args.out.exists():
        old = args.out.read_text(encoding="utf-8")
    new = replace_block(old, block, str(args.out))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(new, encoding="utf-8")
    print(f"{block}\n\nWritten to {args.out}")


if __name__ == "__main__":
    sys.exit(run_command(main))
