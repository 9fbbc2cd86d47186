"""The programs of the recipe mini_cmn, and tables that they write."""

import importlib
import sys
from pathlib import Path

LOCAL = Path(__file__).parents[2] / "egs2/mini_cmn/ctc1/local"


def import_local(*names: str) -> list:
    """Import programs of the recipe; other recipes have files of the same names."""
    files = {path.stem for path in LOCAL.glob("*.py")}
    others = {name: sys.modules.pop(name) for name in files if name in sys.modules}
    sys.path.insert(0, str(LOCAL))
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(LOCAL))
        for name in files:
            sys.modules.pop(name, None)
        sys.modules.update(others)


def read(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)
