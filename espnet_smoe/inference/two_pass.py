"""Four ways to decode a U2++ model: two by CTC alone, two with its decoders."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import torch
import yaml
from torch import nn

from espnet_smoe.inference.attention_search import attention_search
from espnet_smoe.inference.batch_encoder import BatchEncoder
from espnet_smoe.inference.ctc_search import greedy, prefix_beam
from espnet_smoe.inference.hypotheses import Hypothesis
from espnet_smoe.inference.rescoring import rescore
from espnet_smoe.options import nearest, reject_unknown

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
SEARCHES = ("greedy", "prefix_beam", "attention", "rescoring")


@dataclass(frozen=True)
class U2PPDecodeOptions:
    """What a decoding configuration of u2pp.sh may hold.

    Attributes:
        search: ``greedy`` and ``prefix_beam`` use the CTC head alone, ``attention`` the
            left-to-right decoder, ``rescoring`` both decoders on the prefixes.
        beam_size: Hypotheses kept.
        ctc_weight: Weight of the CTC score in ``attention`` and ``rescoring``.
        reverse_weight: Weight of the right-to-left decoder in ``rescoring``; None for
            the one of training.
        chunk_size: Encoder frames that are seen at once; 0 for the whole utterance.
        left_chunks: Chunks before them that are seen, too; -1 for all.
        batch_size: Utterances decoded together.
        int8: Experts and feed-forward blocks in int8, on a CPU.
    """

    search: str = "rescoring"
    beam_size: int = 8
    ctc_weight: float = 0.5
    reverse_weight: float | None = None
    chunk_size: int = 0
    left_chunks: int = -1
    batch_size: int = 16
    int8: bool = False

    @classmethod
    def read(cls, path: str | Path) -> "U2PPDecodeOptions":
        """Read a YAML file.

        Raises:
            ValueError: The file is missing, a key unknown or a value impossible.
        """
        if not Path(path).is_file():
            raise ValueError(f"{path} does not exist; name a file with --config")
        given = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        if not isinstance(given, Mapping):
            raise ValueError(f"{path}: write options, such as 'beam_size: 8'")
        return cls.of(given, str(path))

    @classmethod
    def of(cls, given: Mapping[str, Any], where: str) -> "U2PPDecodeOptions":
        """Options that a user gave.

        Args:
            given: Name -> value.
            where: Their place, for error messages.

        Raises:
            ValueError: A name is unknown or a value impossible.
        """
        reject_unknown(given, [f.name for f in fields(cls)], where)
        options = cls(**given)
        if fault := options.fault():
            raise ValueError(f"{where}: {fault}")
        return options

    def fault(self) -> str:
        """What is wrong with the values; empty if nothing is."""
        for name, kind in get_type_hints(type(self)).items():
            value, kinds = getattr(self, name), get_args(kind) or (kind,)
            whole = type(value) is int and float in kinds
            if type(value) not in kinds and not whole:
                return f"{name}: {value!r} is not {KINDS[kinds[0]]}"
        if self.search not in SEARCHES:
            return (
                f"search: '{self.search}' is not one of "
                f"{', '.join(SEARCHES)}{nearest(self.search, SEARCHES)}"
            )
        for name, least in (
            *(("beam_size", 1), ("batch_size", 1)),
            *(("chunk_size", 0), ("left_chunks", -1)),
        ):
            value = getattr(self, name)
            if value < least:
                return f"{name}: {value} is too small, it is {least} at least"
        if self.ctc_weight < 0 or self.search == "attention" and self.ctc_weight >= 1:
            return (
                f"ctc_weight: {self.ctc_weight} must be 0 or more, in attention under 1"
            )
        if not 0 <= (self.reverse_weight or 0) <= 1:
            return f"reverse_weight: {self.reverse_weight} is not in 0..1"
        return ""


@torch.inference_mode()
def two_pass(
    encoder: BatchEncoder,
    encoded: torch.Tensor,
    frames: torch.Tensor,
    options: U2PPDecodeOptions,
) -> list[list[Hypothesis]]:
    """Search the texts of utterances by the way that the options name.

    Args:
        encoder: Of a U2++ model.
        encoded: ``(B, T, D)``, what it has made of the utterances.
        frames: ``(B,)``.
        options: Which search, and how wide.

    Returns:
        The hypotheses of each utterance, at least one, best first.
    """
    model: nn.Module = encoder.model
    if options.search == "attention":
        return attention_search(
            model, encoded, frames, options.beam_size, options.ctc_weight
        )
    log_probs = encoder.log_probs(encoded, frames)  # B times (T, V)
    if options.search == "greedy":
        return [[_greedy(of_one, model.blank_id)] for of_one in log_probs]
    nbests = [
        prefix_beam(of_one, model.blank_id, options.beam_size) for of_one in log_probs
    ]
    if options.search == "prefix_beam":
        return nbests
    reverse = options.reverse_weight
    return rescore(
        model.decoder,
        encoded,
        frames,
        nbests,
        ctc_weight=options.ctc_weight,
        reverse_weight=model.reverse_weight if reverse is None else reverse,
        sos=model.sos,
        eos=model.eos,
    )


def _greedy(log_probs: np.ndarray, blank: int) -> Hypothesis:
    """The best label of each frame ``(T, V)``, and the probability of that path."""
    score = float(log_probs.max(axis=1).sum())
    return Hypothesis(tuple(greedy(log_probs, blank)), score)
