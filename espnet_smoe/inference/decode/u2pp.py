"""An old name of ``python3 -m espnet_smoe.inference.decode``, for an experiment."""

import sys
from pathlib import Path

from espnet_smoe.command import run_command
from espnet_smoe.inference.decode import driver


def main(argv: list[str] | None = None) -> None:
    """Run the command; ``--out`` is the experiment's folder."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = driver.get_parser().parse_args(argv)
    argv += ["--out", f"{args.out}/decode_{{decoding}}/{Path(args.data).name}"]
    driver.main(argv)


if __name__ == "__main__":
    sys.exit(run_command(main))
