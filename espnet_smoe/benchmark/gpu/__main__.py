"""``espnet-smoe benchmark gpu``: check every path on a GPU, then time it there."""

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
        description="Check every path on a GPU beside the CPU, then time it there. "
        "Nothing stops at the first failure; the exit status is 1 if anything failed.",
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
    add("--no-checks", action="store_true", help="tables and profiles alone")
    add("--no-tables", action="store_true", help="checks alone")
    add("--quick", action="store_true", help="toy sizes; the figures mean nothing")
    add("--markdown", type=Path, help="write all to this file")
    add("--json", type=Path, help="write the figures to this file")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run checks and tables; tell and write what is found.

    Returns:
        1 if anything failed, else 0.
    """
    start = time.perf_counter()
    argv = sys.argv[1:] if argv is None else argv
    args = get_parser().parse_args(argv)
    from espnet_smoe.benchmark.gpu.guard import Site
    from espnet_smoe.benchmark.gpu.page import Page
    from espnet_smoe.benchmark.gpu.run import Run
    from espnet_smoe.benchmark.table import command_line
    from espnet_smoe.inference.runtime.device import check_device

    site = Site(check_device(args.device), args.quick)
    command = command_line(["gpu", *argv])
    page = Page(command, site.device, args.markdown, args.json)
    run = Run(site, page, start, args.budget, args.only)
    if not args.quick:
        faulthandler.dump_traceback_later(args.budget + GRACE, exit=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)  # about toy data
        try:
            run.all(checks=not args.no_checks, tables=not args.no_tables)
        finally:
            logging.disable(logging.NOTSET)
            faulthandler.cancel_dump_traceback_later()
    run.conclude()
    return int(bool(page.failures))


if __name__ == "__main__":
    sys.exit(run_command(main))
