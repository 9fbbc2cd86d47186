"""Train model `smoe` on the data of an ESPnet ST recipe.

    python3 -m espnet_smoe -m espnet_smoe.bin.st_train --config conf/train_st.yaml ...

takes the place of ``espnet2.bin.st_train`` with the same options.
"""

import argparse
import sys
from collections.abc import Sequence

from espnet_smoe.command import run_command
from espnet_smoe.st_task import SMoESTTask


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    return SMoESTTask.get_parser()


def main(cmd: Sequence[str] | None = None) -> None:
    """Run the command."""
    SMoESTTask.main(cmd=cmd)


if __name__ == "__main__":
    sys.exit(run_command(main))
