"""What a process runs first that a module spawns under `python3 -m espnet_smoe`."""

from espnet_smoe.__main__ import prepare
from espnet_smoe.processes import end_with_parent

if __name__ == "__mp_main__":
    end_with_parent()
    prepare()
