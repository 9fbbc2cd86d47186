"""A trained model from its files: found, built, loaded, and every key checked."""

import argparse
import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from espnet_smoe.command import one_line
from espnet_smoe.compat import pack_funcs
from espnet_smoe.config.archive_limits import check_archive, check_room
from espnet_smoe.config.refusals import refusals_in_one_line
from espnet_smoe.config.yaml_file import LARGEST, check_size
from espnet_smoe.inference.config_files import read_config
from espnet_smoe.inference.hub import fetch, is_name
from espnet_smoe.inference.runtime.device import check_device
from espnet_smoe.input_files import (
    SAFETENSORS,
    check_finite,
    check_statistics_file,
    read_checkpoint,
)
from espnet_smoe.registry import register, task_of

__all__ = [
    "cure_of",
    "find_checkpoint",
    "load_checkpoint",
    "load_model",
    "model_files",
    "read_config",
    "save_weights",
    "skeleton",
]

SAFE_MODEL = "model.safetensors"
CHECKPOINTS = (
    SAFE_MODEL,
    "model.pth",
    "valid.acc.ave.pth",
    "valid.acc.best.pth",
    "valid.loss_ctc.ave.pth",  # models without a decoder
    "valid.loss_ctc.best.pth",
)
PACKED = ("asr", "st", "s2t")  # tasks of ESPnet whose packed models can be read
MANY = 5  # keys that an error message lists
OTHER_ZIP = "stage 14 of the recipe makes one"
CURE = "take another checkpoint of the experiment, or train it again (stage 11)"
CURE_OF_SAFE = "fetch it again (hf download), or pack it again (espnet-smoe pack)"


@contextmanager
def model_files(
    path: str | Path, checkpoint: str | None = None
) -> Iterator[tuple[Path, Path]]:
    """Find configuration and checkpoint.

    Args:
        path: A zip file of the recipe's stage 14, an experiment's folder, one that
            `espnet-smoe pack` wrote, or the name of a model on the Hugging Face hub,
            ``name/of-model`` or ``name/of-model@revision``. A zip file's content lives
            as long as the context.
        checkpoint: Name of the file in the folder; None for the best of `CHECKPOINTS`.

    Yields:
        Training configuration, checkpoint.

    Raises:
        ValueError: There is no such model, or a checkpoint is named of a zip file.
    """
    path = Path(path)
    if not path.exists() and is_name(str(path)):
        path = fetch(str(path))
    if path.is_dir():
        found = path / checkpoint if checkpoint else find_checkpoint(path)
        yield path / "config.yaml", found
    elif path.is_file():
        if checkpoint:
            raise ValueError(
                f"{path} holds one checkpoint; leave '{checkpoint}' out, or give the "
                "folder of the experiment that has it"
            )
        with tempfile.TemporaryDirectory() as folder:
            found = _unpacked(path, Path(folder))
            try:
                yield found
            except ValueError as error:  # nobody finds the scratch file any more
                message = str(error).replace(f"{folder}{os.sep}", f"{path}!")
                raise ValueError(message) from error
    else:
        raise ValueError(
            f"{path} does not exist; give the folder of an experiment, the zip file of "
            "the recipe's stage 14, or the name of a model on the hub (name/of-model)"
        )


def _unpacked(path: Path, folder: Path) -> tuple[Path, Path]:
    """Configuration and checkpoint of a packed model, unpacked into a folder."""
    try:
        check_room(check_archive(path))
        with pack_funcs.Archiver(path) as archive:
            # unpacking rewrites paths in YAML files, alias by alias
            for info in archive:
                name = archive.get_name_from_info(info)
                if name.endswith((".yaml", ".yml")):
                    with archive.extractfile(info, "rb") as member:
                        check_size(member.read(LARGEST + 1))
        files = pack_funcs.unpack(path, folder)
        kind = next((kind for kind in PACKED if f"{kind}_train_config" in files), "asr")
        keys = f"{kind}_train_config", f"{kind}_model_file"
        found = [Path(files[key]) for key in keys]
    except KeyError as error:
        raise ValueError(
            f"{path}: not a packed model for speech recognition: its meta.yaml has no "
            f"{error}; {OTHER_ZIP}"
        ) from error
    except Exception as error:  # the archive's reader raises many types
        message = one_line(" ".join(str(error).split()))
        raise ValueError(
            f"{path}: not a packed model ({message}); {OTHER_ZIP}"
        ) from error
    for place in found:
        if not place.resolve().is_relative_to(folder.resolve()) or not place.is_file():
            raise ValueError(f"{path}: its meta.yaml names {place}, which is not in it")
    return found[0], found[1]


def find_checkpoint(
    folder: Path, options: str = "--train-config and --model-file"
) -> Path:
    """The checkpoint of an experiment to use where none is named.

    Args:
        folder: Of the experiment.
        options: How to name another, for the error.

    Raises:
        ValueError: It holds none of `CHECKPOINTS`, or a link to what is gone.
    """
    for name in CHECKPOINTS:
        path = folder / name
        if path.is_file():
            return path
        if path.is_symlink():  # training links averages: another one is another model
            raise ValueError(
                f"{path} is a link to {os.readlink(path)}, which is not there; copy it "
                "from where the model was trained"
            )
    raise ValueError(
        f"{folder} holds none of {', '.join(CHECKPOINTS)}; stage 11 of the recipe "
        f"writes one, or name it with {options}"
    )


def load_model(
    config: Mapping[str, Any],
    model_file: str | Path,
    device: str = "cpu",
    int8: bool = False,
) -> nn.Module:
    """Build a model and load its checkpoint.

    Args:
        config: From `read_config`.
        model_file: Checkpoint.
        device: Where the model shall be.
        int8: All linear layers but routers in int8, see `quantize`; on a CPU.

    Returns:
        The model, ready for inference.

    Raises:
        ValueError: The checkpoint is missing, unreadable, or does not fit the model,
            or there is no such model.
    """
    register()
    from espnet_smoe.compat import ASRTask
    from espnet_smoe.inference.runtime.quantize import quantize

    place = check_device(device)
    if stats := (config.get("normalize_conf") or {}).get("stats_file"):
        check_statistics_file(stats, "copy it from where the model was trained")
    build = refusals_in_one_line(ASRTask.build_model)
    try:
        model = build(argparse.Namespace(**config))
    except ValueError as error:
        raise ValueError(f"the configuration of {model_file}: {error}") from error
    load_checkpoint(model, model_file)
    model = model.to(place).eval()
    return quantize(model) if int8 else model


def cure_of(path: str | Path) -> str:
    """What to do about damaged weights."""
    return CURE_OF_SAFE if Path(path).suffix == SAFETENSORS else CURE


def save_weights(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write a checkpoint whole, or not at all.

    Args:
        state: Key -> tensor.
        path: File; in the format of safetensors where it is called so.

    Raises:
        OSError: The disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    try:
        if path.suffix == SAFETENSORS:
            save_file(_apart(state), partial, {"format": "pt"})
        else:
            torch.save(dict(state), partial)
        os.replace(partial, path)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from error
    except RuntimeError as error:  # PyTorch's for a disk that takes no more
        full = errno.ENOSPC
        raise OSError(full, os.strerror(full), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def _apart(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors none of which shares memory with another, as safetensors wants them."""
    apart, seen = {}, set()
    for key, tensor in state.items():
        tensor = tensor.detach().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        apart[key] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return apart


def skeleton(config: Mapping[str, Any]) -> nn.Module:
    """The model of a configuration without its weights, on the meta device.

    Args:
        config: From `read_config`.

    Raises:
        ValueError: A class or an option is unknown, or none is there that has to be.
    """
    register()
    with torch.device("meta"):
        args = argparse.Namespace(**{**config, "init": None})
        return refusals_in_one_line(task_of(config).build_model)(args)


def load_checkpoint(model: nn.Module, path: str | Path) -> None:
    """Load weights; every key must fit.

    Raises:
        ValueError: The file is missing or damaged, keys are missing, foreign or of
            another shape, or weights are NaN; names them.
    """
    given = read_checkpoint(path, cure_of(path))
    check_weights(model, given, path)
    check_finite(given, path, cure_of(path))
    model.load_state_dict(given)


def check_weights(
    model: nn.Module,
    given: Mapping[str, torch.Tensor],
    path: str | Path,
    cure: str = "Give the config.yaml it was trained with",
) -> None:
    """Hold weights against the model that they are for.

    Raises:
        ValueError: Keys are missing, foreign, of another shape, or numbers without
            fractions where there should be others; names them.
    """
    known = model.state_dict()
    faults = {"no tensors": [k for k, v in given.items() if not torch.is_tensor(v)]}
    given = {key: tensor for key, tensor in given.items() if torch.is_tensor(tensor)}
    faults |= {
        "missing": [key for key in known if key not in given],
        "foreign": [key for key in given if key not in known],
        "of another shape": [
            f"{key} {tuple(given[key].shape)}, not {tuple(known[key].shape)}"
            for key in known
            if key in given and given[key].shape != known[key].shape
        ],
        "of another type": [
            f"{key} {str(given[key].dtype)[6:]}, not {str(known[key].dtype)[6:]}"
            for key in known
            if key in given
            and known[key].is_floating_point()
            and not given[key].is_floating_point()
        ],
    }
    problems = [f"{what}: {_list(keys)}" for what, keys in faults.items() if keys]
    if problems:
        raise ValueError(
            f"{path} does not fit the model of the training configuration; "
            f"{'; '.join(problems)}. {cure}"
        )


def _list(keys: list[str]) -> str:
    more = f" and {len(keys) - MANY} more" if len(keys) > MANY else ""
    return ", ".join(keys[:MANY]) + more
