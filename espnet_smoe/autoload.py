"""ESPnet's own loaders know our models wherever this package is installed.

``espnet.load``, ``espnet transcribe`` and ``Speech2Text.from_pretrained`` build a model
by names in its configuration. PyTorch calls `install` when it is imported: `setup.py`
names it in the group ``torch.backends``, PyTorch's own for packages that extend it.
It costs a look at what is imported later. Our classes are imported and added when
ESPnet is about to load a model that names what it does not know, and not before.
``TORCH_DEVICE_BACKEND_AUTOLOAD=0`` turns it off; `espnet_smoe.register` remains.
"""

import functools
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

BASE = "espnet2.tasks.abs_task"
TOP_LEVEL = re.compile(r"^(\w+): +(\S+) *$", re.MULTILINE)
OUR_TOKENIZER = ".json"


class _WhenImported(MetaPathFinder):
    """Changes how ESPnet loads models, once the module that does it is imported."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != BASE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_change(module: ModuleType) -> None:
                run(module)
                _load_ours(module.AbsTask)

            spec.loader.exec_module = run_and_change
        return spec


def install() -> None:
    """Wait for ESPnet; safe to call again."""
    known = sys.modules.get(BASE)
    if hasattr(known, "AbsTask"):
        _load_ours(known.AbsTask)
    elif not any(isinstance(finder, _WhenImported) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WhenImported())


def _load_ours(base: type) -> None:
    """Let the tasks load what a packed model of ours names."""
    build = base.build_model_from_file.__func__
    if hasattr(build, "loads_ours"):
        return

    @functools.wraps(build)
    def build_any(
        cls: type,
        config_file: Path | str | None = None,
        model_file: Path | str | None = None,
        device: str = "cpu",
    ) -> Any:
        if config_file is None and model_file is not None:
            config_file = Path(model_file).parent / "config.yaml"
        if config_file is not None and _is_unknown(cls, Path(config_file)):
            from espnet_smoe.registry import register

            register()
        if Path(str(model_file)).suffix != ".safetensors":
            return build(cls, config_file, model_file, device)
        from espnet_smoe.inference.checkpoint import load_checkpoint

        built, args = build(cls, config_file, None, device)
        load_checkpoint(built, model_file)
        return built, args

    build_any.loads_ours = True
    base.build_model_from_file = classmethod(build_any)


def _is_unknown(task: type, config: Path) -> bool:
    """Whether a configuration names a class that ESPnet does not know, or a tokenizer.

    Args:
        task: Of ESPnet, with its choices.
        config: Of a training. Not parsed: ESPnet does it next, and it can be long.
    """
    if not config.is_file():
        return False
    found = dict(TOP_LEVEL.findall(config.read_text(encoding="utf-8")))
    unknown = any(
        found.get(choices.name, "null") not in ("null", "none", *choices.classes)
        for choices in task.class_choices_list
    )
    return unknown or found.get("bpemodel", "").endswith(OUR_TOKENIZER)
