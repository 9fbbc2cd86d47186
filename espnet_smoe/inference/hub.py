"""Models on the Hugging Face hub, by their names: fetched once, then in its cache."""

import re
from pathlib import Path

from espnet_smoe.version import __version__

NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)
# weights of other formats, which may hold code, and archives
NOT_FETCHED = ["*.pth", "*.pt", "*.bin", "*.ckpt", "*.pkl", "*.pickle", "*.h5"]
NOT_FETCHED += ["*.zip", "*.tar", "*.tar.*", "*.tgz", "*.msgpack", "*.onnx"]
NEEDED = ("config.yaml", "model.safetensors")  # as `espnet-smoe pack` writes them
NOR = "nor in the cache of the hub"


def is_name(text: str) -> bool:
    """Whether a text can be the name of a model on the hub.

    A path into a folder that is here is none: what is misspelt is asked of nobody.

    Args:
        text: ``name/of-model`` or ``name/of-model@revision``.
    """
    return bool(NAME.fullmatch(text)) and not Path(text).parent.exists()


def fetch(name: str) -> Path:
    """The folder of a model of the hub in the local cache; what is not there comes.

    Without a network, or with ``HF_HUB_OFFLINE=1``, it is what was fetched before.

    Args:
        name: ``name/of-model`` or ``name/of-model@revision``.

    Raises:
        ValueError: There is no such model, none that `espnet-smoe pack` wrote, or no
            network and nothing in the cache.
    """
    from huggingface_hub import errors, snapshot_download

    model, _, revision = name.partition("@")
    here = f"{name} is no file or folder here"
    try:
        folder = snapshot_download(
            model,
            revision=revision or None,
            ignore_patterns=NOT_FETCHED,
            library_name="espnet_smoe",
            library_version=__version__,
        )
    except errors.RevisionNotFoundError as error:
        raise ValueError(f"{model} has no revision '{revision}' on the hub") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ValueError(
            f"{here}, nor a model of the hub that you may see; mend the name, or log "
            "in for a private model (hf auth login)"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        part = getattr(error, "snapshot_path", None)
        where = f"{name}: its copy in {part} is not whole" if part else f"{here}, {NOR}"
        raise ValueError(
            f"{where}, and the hub cannot be reached (no network, or HF_HUB_OFFLINE is "
            f"set); run 'hf download {model}' where a network is, and take its cache "
            "along (HF_HOME)"
        ) from error
    except (OSError, errors.HTTPError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{name} cannot be fetched from the hub ({reason})") from error
    lacking = [file for file in NEEDED if not (Path(folder) / file).is_file()]
    if lacking:
        raise ValueError(
            f"{name} has no {' or '.join(lacking)} on the hub: 'espnet-smoe pack' did "
            "not write it; models of other programs are for 'espnet-smoe import'"
        )
    return Path(folder)
