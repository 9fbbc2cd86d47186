"""`python3 -m espnet_smoe -m MODULE ...`: run an ESPnet module with our classes.

Also the child processes that a multi-GPU run spawns import this module, and so they
have the classes too. `python3 -m espnet_smoe COMMAND ...` is `espnet-smoe COMMAND`.
"""

import importlib.util
import runpy
import sys

from espnet_smoe import register


def main() -> None:
    """Run the module named after ``-m``, or a command of `espnet_smoe.cli`."""
    if len(sys.argv) > 2 and sys.argv[1] == "-m":
        module = sys.argv[2]
        register()
        spec = importlib.util.find_spec(module)
        if spec is None:
            sys.exit(f"espnet_smoe: there is no module {module}")
        sys.argv = [spec.origin, *sys.argv[3:]]  # as python3 -m does
        # alter_sys stays False: spawned workers find their way by this __main__
        runpy.run_module(module, run_name="__main__")
        return
    from espnet_smoe.cli import main as command

    sys.exit(command())


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":  # a spawned worker of a run that started here
    register()
