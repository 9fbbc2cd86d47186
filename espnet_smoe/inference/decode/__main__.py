"""`python3 -m espnet_smoe.inference.decode`."""

import sys

from espnet_smoe.command import run_command
from espnet_smoe.inference.decode.driver import main

if __name__ == "__main__":
    sys.exit(run_command(main))
