"""What a process runs first that a module spawns under `python3 -m espnet_smoe`."""

from espnet_smoe import register

if __name__ == "__mp_main__":
    register()
