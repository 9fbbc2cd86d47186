"""The folder of an experiment, as if it had been trained here."""

import argparse
import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.inference.checkpoint import check_weights
from espnet_smoe.inference.config_files import LENGTHS
from espnet_smoe.input_files import check_finite
from espnet_smoe.registry import register

TOKENS, TOKENIZER, WEIGHTS = "tokens.txt", "bpe.json", "model.pth"


def write_experiment(
    folder: Path,
    config: Mapping[str, Any],
    state: Mapping[str, torch.Tensor],
    tokens: Sequence[str],
    tokenizer: str,
    lengths: Mapping[str, float],
) -> None:
    """Write configuration, weights, tokens and tokenizer; the weights come last.

    Args:
        folder: New.
        config: Training configuration, without the names of files.
        state: Weights, held against the model of the configuration before.
        tokens: V of them.
        tokenizer: JSON of a byte-level BPE.
        lengths: `Lengths` of the training, as far as known.

    Raises:
        ValueError: The weights do not fit, or are no numbers.
    """
    from espnet_smoe.compat import ASRTask

    register()
    check_finite(state, "the model", "fetch it again")
    with torch.device("meta"):
        built = {**config, "token_list": list(tokens)}
        model = ASRTask.build_model(argparse.Namespace(**built))
    check_weights(model, state, "the model")
    files = {"token_list": TOKENS, "bpemodel": TOKENIZER}
    text = yaml.safe_dump({**config, **files}, sort_keys=False, allow_unicode=True)
    write_lines(folder / TOKENS, tokens)
    write_lines(folder / TOKENIZER, [tokenizer])
    write_lines(folder / LENGTHS, [json.dumps(lengths)])
    write_lines(folder / "config.yaml", text.splitlines())
    partial = folder / f"{WEIGHTS}.part"
    try:
        torch.save(dict(state), partial)
        os.replace(partial, folder / WEIGHTS)
    except RuntimeError as error:  # PyTorch's for a disk that takes no more
        full = errno.ENOSPC
        raise OSError(full, os.strerror(full), str(folder)) from error
    finally:
        partial.unlink(missing_ok=True)
