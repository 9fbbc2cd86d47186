"""What a decoding was made from, and whether that has changed since."""

import json
from pathlib import Path

from espnet_smoe.fingerprints import fingerprint_audio, fingerprint_file


def decoding_inputs(model_file: str | Path, data: str | Path) -> dict[str, str]:
    """What a decoding was made of, for its ``decode.json``.

    Args:
        model_file: Checkpoint.
        data: Data directory.

    Raises:
        ValueError: There is no such checkpoint, or no ``wav.scp``.
    """
    if not Path(model_file).is_file():
        raise ValueError(
            f"{model_file} does not exist; stage 11 of the recipe writes it"
        )
    return {
        "model_file": str(model_file),
        "model": fingerprint_file(model_file),
        "data": str(data),
        "recordings": fingerprint_audio(Path(data) / "wav.scp"),
    }


def outdated(decode_dir: Path) -> str | None:
    """Why the texts in a folder are no longer those of its model and recordings.

    Args:
        decode_dir: Folder with ``decode.json``.

    Returns:
        What has changed since; None where nothing has or nobody can tell.
    """
    try:
        info = json.loads((decode_dir / "decode.json").read_text(encoding="utf-8"))
        model, data = Path(info["model_file"]), Path(info["data"]) / "wav.scp"
        was = info["model"], info["recordings"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none, or of a time before
    # An experiment is found where it is now, also from elsewhere or in a copy.
    beside = [folder / model.name for folder in decode_dir.parents[:2]]
    model = next((path for path in [*beside, model] if path.is_file()), model)
    if model.is_file() and fingerprint_file(model) != was[0]:
        return f"{model} is another model than the one that decoded it"
    if data.is_file() and fingerprint_audio(data) != was[1]:
        return f"{data} lists other recordings than those decoded"
    return None


def check_decoding(decode_dir: Path) -> None:
    """Refuse texts that are not those of the model beside them.

    Raises:
        ValueError: Names what has changed.
    """
    if why := outdated(decode_dir):
        raise ValueError(
            f"{decode_dir}: {why}; run stage 12 (decode) again, or remove the folder"
        )
