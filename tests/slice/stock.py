"""A Python that has not this package, as those have it who get a slice."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

BLOCK = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "espnet_smoe":
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Refuse())
"""


def run_without_us(code: str) -> str:
    """What a program prints where ``espnet_smoe`` cannot be imported."""
    # where the package is not installed, PyTorch has nothing of it to load
    env = os.environ | {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    command = [sys.executable, "-c", BLOCK + code]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def texts_by_readme(folder: Path, waves: list[Path]) -> list[str]:
    """The texts of recordings by the program in a slice's README.md."""
    page = (folder / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    setup, decode = code.split("speech, rate = ", 1)
    decode = "speech, rate = " + decode.replace('"a.wav"', "path")
    decode = decode.replace("print(", "texts.append(")
    loop = "texts = []\nfor path in paths:\n"
    loop += "".join(f"    {line}\n" for line in decode.splitlines())
    paths = f"import json\npaths = {[str(path) for path in waves]}\n"
    said = run_without_us(f"{setup}\n{paths}{loop}\nprint(json.dumps(texts))")
    return json.loads(said.splitlines()[-1])
