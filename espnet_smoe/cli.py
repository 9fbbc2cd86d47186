"""`espnet-smoe`: the list of commands, each of which is in a module of its own."""

import importlib
import os
import sys

from espnet_smoe.command import TRACEBACK, one_line, run_command
from espnet_smoe.config.options import nearest
from espnet_smoe.version import __version__

COMMANDS = {
    "transcribe": (
        "espnet_smoe.inference.transcribe",
        "speech to text and translation",
    ),
    "serve": ("espnet_smoe.serve.command", "speech to text for many, over the network"),
    "stream": (
        "espnet_smoe.inference.streaming.command",
        "words while they are spoken",
    ),
    "prepare": ("espnet_smoe.data.prepare", "check and format a data directory"),
    "score": (
        "espnet_smoe.report.scoring.command",
        "WER, CER, BLEU with intervals; every error",
    ),
    "compare": (
        "espnet_smoe.report.tables.compare",
        "one table of several experiments",
    ),
    "curves": (
        "espnet_smoe.report.tables.curves",
        "how trainings went, in one picture",
    ),
    "check-config": ("espnet_smoe.check_config", "check a YAML file, count parameters"),
    "fit-batch": ("espnet_smoe.fit_batch", "the largest batch that a device trains"),
    "import": (
        "espnet_smoe.importers.command",
        "a model trained elsewhere as an experiment",
    ),
    "upcycle": ("espnet_smoe.upcycle", "a dense checkpoint as a mixture's beginning"),
    "slice": ("espnet_smoe.slice.command", "one task's dense model out of a mixture"),
    "experts": (
        "espnet_smoe.report.experts.command",
        "what the experts do, how they differ",
    ),
    "pack": (
        "espnet_smoe.pack.command",
        "a model in one file, or as a folder for the hub",
    ),
    "export": ("espnet_smoe.export.command", "ONNX or TorchScript of a model"),
    "benchmark": ("espnet_smoe.benchmark.__main__", "time mixtures against baselines"),
    "recipes": ("espnet_smoe.recipes", "list recipes, copy one to run it"),
}


def usage() -> str:
    """The list of commands."""
    lines = [f"espnet-smoe {__version__}", "usage: espnet-smoe COMMAND [options]", ""]
    lines += [f"  {name:<14}{what}" for name, (_, what) in COMMANDS.items()]
    lines += ["", "espnet-smoe COMMAND --help tells the options."]
    return "\n".join([*lines, "espnet-smoe --debug COMMAND shows where errors are."])


def main(argv: list[str] | None = None) -> int:
    """Run a command; an error that a user can cure is one line.

    Args:
        argv: Command and its options; those of the process when None.

    Returns:
        The exit status, as `run_command` says.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["--debug"]:
        os.environ[TRACEBACK] = "1"
        argv = argv[1:]
    name = argv[0] if argv and argv[0] in COMMANDS else ""
    return run_command(_run, argv, f"espnet-smoe {name}".strip())


def _run(argv: list[str]) -> int | None:
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"espnet-smoe {__version__}")
        return 0
    name = argv[0]
    if name not in COMMANDS:
        print(
            one_line(f"espnet-smoe: unknown command '{name}'{nearest(name, COMMANDS)}"),
            file=sys.stderr,
        )
        return 2
    return importlib.import_module(COMMANDS[name][0]).main(argv[1:])
