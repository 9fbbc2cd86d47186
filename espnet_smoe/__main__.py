"""`python3 -m espnet_smoe -m MODULE ...`: run an ESPnet module with our classes.

Also the processes that a multi-GPU run spawns have the classes. `python3 -m espnet_smoe
COMMAND ...` is `espnet-smoe COMMAND`.
"""

import importlib.util
import runpy
import sys

from espnet_smoe.command import run_command
from espnet_smoe.registry import register


def prepare() -> None:
    """Add our classes to ESPnet's; make its training checked, resumable and quick."""
    from espnet_smoe.trained import describe_trained
    from espnet_smoe.training.cpu_products import train_quickly_on_cpu
    from espnet_smoe.training.resume import protect_checkpoints
    from espnet_smoe.training.shard_iterator import train_from_shards
    from espnet_smoe.training.start import check_before_training
    from espnet_smoe.training.statistics import collect_in_flat_memory
    from espnet_smoe.training.steps import save_steps

    register()
    protect_checkpoints()
    save_steps()
    train_quickly_on_cpu()
    collect_in_flat_memory()
    train_from_shards()
    check_before_training()
    describe_trained()


def launch(argv: list[str] | None = None) -> None:
    """Run the module that the process names after ``-m``, as ``python3 -m`` does."""
    module = sys.argv[2]
    prepare()
    spec = importlib.util.find_spec(module)
    if spec is None:
        raise ModuleNotFoundError(f"there is no module {module}")
    sys.argv = [spec.origin, *sys.argv[3:]]
    # A spawned process runs the main module of its parent first, unless that is a
    # package's __main__: name one that registers. Needs alter_sys to stay False.
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("espnet_smoe.worker")
    runpy.run_module(module, run_name="__main__")


def main() -> None:
    """Run the module named after ``-m``, or a command of `espnet_smoe.cli`."""
    if len(sys.argv) > 2 and sys.argv[1] == "-m":
        sys.exit(run_command(launch, name=sys.argv[2], only_ours=True))
    from espnet_smoe.cli import main as command

    sys.exit(command())


if __name__ == "__main__":
    main()
