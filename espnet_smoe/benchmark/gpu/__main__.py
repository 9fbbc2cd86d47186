"""``espnet-smoe benchmark gpu``: time every path on a GPU."""

import argparse
import faulthandler
import logging
import sys
import time
import warnings
from pathlib import Path

from espnet_smoe.command import run_command

BUDGET = 320.0  # seconds, so that all of it takes six minutes at most
GRACE = 90.0  # seconds after the budget until what hangs is ended


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="espnet-smoe benchmark gpu",
        description="Time every path on a GPU beside its baselines. Nothing stops at "
        "the first failure; the exit status is 1 if anything failed.",
    )
    add = parser.add_argument
    add("--device", default="cuda", help="(default: %(default)s)")
    add(
        "--budget",
        type=float,
        default=BUDGET,
        metavar="SECONDS",
        help="after these nothing further is begun (default: %(default)s)",
    )
    add("--only", default="", metavar="TEXT", help="what has it in its name")
    add("--quick", action="store_true", help="toy sizes; the figures mean nothing")
    add("--markdown", type=Path, help="write all to this file")
    add("--json", type=Path, help="write the figures to this file")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run tables and profiles; print and write what is found, as it is found.

    Returns:
        1 if anything failed, else 0.
    """
    start = time.perf_counter()
    argv = sys.argv[1:] if argv is None else argv
    args = get_parser().parse_args(argv)
    from espnet_smoe.benchmark.gpu.run import make_report, run_all
    from espnet_smoe.benchmark.table import command_line
    from espnet_smoe.inference.runtime.device import check_device

    device = check_device(args.device)
    report = make_report(command_line(["gpu", *argv]), device)
    if not args.quick:
        faulthandler.dump_traceback_later(args.budget + GRACE, exit=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)  # about toy data
        try:
            for name, run in run_all(device, args.quick):
                if args.only not in name:
                    continue
                if time.perf_counter() - start > args.budget:
                    report.notes.append(f"left out after {args.budget:g} s: {name}")
                    lines = report.notes[-1:]
                else:
                    lines = run(report)
                seconds = time.perf_counter() - start
                print(f"[{seconds:6.1f} s]", "\n".join(lines), flush=True)
                report.write(args.markdown, args.json)  # what hangs later loses nothing
        finally:
            logging.disable(logging.NOTSET)
            faulthandler.cancel_dump_traceback_later()
    failures = [n.split("\n")[0] for n in report.notes if n.startswith("FAIL")]
    for failure in failures:
        print(f"failed: {failure.removeprefix('FAIL ')}")
    for row in report.rows:
        if row.reached is False:
            where = f"{row.comparison}: {row.side}"
            print(f"missed: {where}: {row.ratio.median:.3f}, goal {row.goal:g}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(run_command(main))
