"""``espnet-smoe pack`` as copies of recipes made before it call it in stage 14."""

import runpy
import sys

NEW = {"--exp": None, "--model": "--checkpoint"}  # None: no name, it comes first

if __name__ == "__main__":
    given = [NEW.get(word, word) for word in sys.argv[1:]]
    sys.argv[1:] = ["pack", *(word for word in given if word is not None)]
    runpy.run_module("espnet_smoe", run_name="__main__", alter_sys=True)
