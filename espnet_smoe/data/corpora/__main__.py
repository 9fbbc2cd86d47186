"""Prepare a speech corpus as data directories.

    python -m espnet_smoe.data.corpora aishell /corpora/aishell data
    python -m espnet_smoe.data.corpora local/my_corpus.py /corpora/mine data

After the name of a corpus, or a file that holds a function prepare_<corpus>, come its
folder, the folder to write (data), and its options: NAME --help lists them.
"""

import argparse
import inspect
import sys

from espnet_smoe.command import run_command
from espnet_smoe.data.corpora.registry import call, corpora, find, parser_of


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview())
        return
    name, *rest = _by_name(argv)
    prepare = find(name)
    print(call(prepare, parser_of(prepare, name).parse_args(rest)))


def _overview() -> str:
    known = {
        name: (inspect.getdoc(prepare) or "").partition("\n")[0]
        for name, prepare in sorted(corpora().items())
    }
    lines = [f"  {name:14}{what}" for name, what in known.items()]
    return "\n".join([(__doc__ or "").strip(), "", "Corpora:", "", *lines])


def _by_name(argv: list[str]) -> list[str]:
    """The words of earlier versions, ``--aihub DIR --out DIR``, as they are now."""
    if not argv[0].startswith("-"):
        return argv
    old = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    old.add_argument("--aihub", required=True)
    old.add_argument("--out", default="data")
    args, rest = old.parse_known_args(argv)
    return ["aihub", args.aihub, args.out, *rest]


if __name__ == "__main__":
    sys.exit(run_command(main))
