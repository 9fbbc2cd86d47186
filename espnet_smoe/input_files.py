"""Files that a training or a model reads: whole, or named with the cure."""

import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from espnet_smoe.config.archive_limits import check_archive, expands_too_much
from espnet_smoe.data.text.tokens import read_token_list

END_TOKENS = ("<sos/eos>", "<eos>")  # a list ends with them, as ESPnet counts on
STATISTICS = ("count", "sum", "sum_square")
LISTED = 5  # names in a message
SAFETENSORS = ".safetensors"  # of files of weights without any code


def check_tokens(
    token_list: str | Path | Sequence[str],
    tokenizer: str | Path | None = None,
    cure: str = "make it again: stage 5 (--stage 5)",
) -> None:
    """Refuse a token list that has lost tokens: its texts would train ``<unk>``.

    Args:
        token_list: File with a token a line, or the tokens.
        tokenizer: Subword model, all of whose pieces have to be in the list.
        cure: What to do about it.

    Raises:
        ValueError: The list has no end, or lacks pieces.
    """
    place = "token_list"
    tokens = token_list
    if isinstance(token_list, (str, Path)):
        place = str(token_list)
        tokens = read_token_list(token_list)
    if not tokens or "<blank>" not in tokens[:1] or "<hf>" in tokens:
        if tokens:
            return  # a list of another kind: of a text model, or another's
        raise ValueError(f"{place} is empty; {cure}")
    if not any(token in tokens for token in END_TOKENS):
        raise ValueError(
            f"{place} ends with '{tokens[-1]}' and not with '{END_TOKENS[0]}': it was "
            f"cut short to {len(tokens)} tokens; {cure}"
        )
    known = set(tokens)
    lost = [piece for piece in _pieces(tokenizer) if piece not in known]
    if lost:
        raise ValueError(
            f"{place} lacks {len(lost)} pieces of {tokenizer}, which would be <unk>: "
            f"{' '.join(lost[:LISTED])}{' ...' if len(lost) > LISTED else ''}; {cure}"
        )


def _pieces(tokenizer: str | Path | None) -> list[str]:
    """What a subword model writes; nothing where there is none."""
    if tokenizer in (None, "none") or not Path(str(tokenizer)).is_file():
        return []
    if str(tokenizer).endswith(".json"):
        from tokenizers import Tokenizer

        try:
            return list(Tokenizer.from_file(str(tokenizer)).get_vocab())
        except Exception as error:  # a bare exception of the library
            raise ValueError(
                f"{tokenizer} is damaged ({error}); make it again: stage 5 (--stage 5)"
            ) from error
    if not str(tokenizer).endswith(".model"):
        return []
    from sentencepiece import SentencePieceProcessor

    try:
        model = SentencePieceProcessor(model_file=str(tokenizer))
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"{tokenizer} is damaged ({error}); make it again: stage 5 (--stage 5)"
        ) from error
    special = (model.is_control, model.is_unknown, model.is_unused)
    ids = range(model.get_piece_size())
    return [model.id_to_piece(i) for i in ids if not any(is_(i) for is_ in special)]


def check_statistics_file(
    path: str | Path, cure: str = "make it again: stage 10 (--stage 10)"
) -> None:
    """Refuse statistics that are cut short, empty or not finite.

    Args:
        path: ``feats_stats.npz`` of ESPnet.
        cure: What to do about it.

    Raises:
        ValueError: Names the file and what is wrong with it.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist; {cure}")
    try:
        if zipfile.is_zipfile(path):
            check_archive(path)
        content = np.load(path)
        if isinstance(content, np.ndarray):  # as Kaldi has them
            values = {"statistics": content}
        else:
            values = {name: content[name] for name in STATISTICS}
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        MemoryError,
        zipfile.BadZipFile,
    ) as error:
        raise ValueError(f"{path} is damaged ({error}); {cure}") from error
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise ValueError(f"{path}: {name} is not finite; {cure}")
    if "count" in values and not values["count"] > 0:
        raise ValueError(f"{path} counts no frame; {cure}")


def read_checkpoint(path: str | Path, cure: str) -> dict[str, Any]:
    """Read a file that `torch.save` or safetensors wrote; no code in it runs.

    Args:
        path: File; one that is called ``.safetensors`` is read as such.
        cure: What to do if it is damaged.

    Raises:
        ValueError: It is missing, damaged, empty or holds no weights.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist; {cure}")
    if Path(path).stat().st_size == 0:
        raise ValueError(f"{path}: not a checkpoint of weights: it is empty; {cure}")
    try:
        given = _load_weights(path)
    except Exception as error:  # pickle and zip errors of many types
        # torch's own words advise to load it without care
        reason = str(error).split("\n")[0]
        if "eights only load failed" in reason:
            reason = "it is no file of tensors alone"
        raise ValueError(
            f"{path}: not a checkpoint of weights, or a damaged one ({reason[:80]}); "
            f"{cure}"
        ) from error
    if not isinstance(given, dict) or not given or not all(map(_is_name, given)):
        raise ValueError(f"{path}: not a checkpoint of weights: it holds none; {cure}")
    tensors = [value for value in given.values() if isinstance(value, torch.Tensor)]
    size = sum(value.numel() * value.element_size() for value in tensors)
    if expands_too_much(Path(path).stat().st_size, size):  # views repeat one number
        raise ValueError(
            f"{path}: not a checkpoint of weights: they would take {size:,} bytes; "
            f"{cure}"
        )
    return given


def _is_name(key: object) -> bool:
    return isinstance(key, str)


def _load_weights(path: str | Path) -> Any:
    if Path(path).suffix == SAFETENSORS:
        return load_file(path)
    # mapped: of a large file only what is looked at is read
    mapped = zipfile.is_zipfile(path)
    if mapped:
        check_archive(path)
    with warnings.catch_warnings():  # of what is refused anyway
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def check_tensors(weights: Mapping[str, Any], path: str | Path, cure: str) -> None:
    """Refuse what is no weight, as the state of an optimizer.

    Args:
        weights: Key -> tensor.
        path: Where they come from.
        cure: What to do about it.

    Raises:
        ValueError: Names the first key.
    """
    others = [key for key, value in weights.items() if not torch.is_tensor(value)]
    if others:
        raise ValueError(f"{path}: {others[0]} is no tensor; {cure}")


def check_finite(weights: Mapping[str, Any], path: str | Path, cure: str) -> None:
    """Refuse weights with NaN or infinity.

    Args:
        weights: Key -> tensor.
        path: Where they come from.
        cure: What to do about it.

    Raises:
        ValueError: Names keys.
    """
    bad = [
        key
        for key, value in weights.items()
        if isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and not torch.isfinite(value).all()
    ]
    if bad:
        more = f" and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
        raise ValueError(
            f"{path} has weights that are no numbers (NaN or infinite): "
            f"{', '.join(bad[:LISTED])}{more}; {cure}"
        )
