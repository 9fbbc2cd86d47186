"""Four ways to decode a U2++ model: two by CTC alone, two with its decoders."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import nn

from espnet_smoe.config.options import make, options_of
from espnet_smoe.config.typed import Above0, Count, Natural, OneOf, Range, Share, Weight
from espnet_smoe.config.yaml_file import read_yaml
from espnet_smoe.inference.batch_encoder import BatchEncoder
from espnet_smoe.inference.search.attention import attention_search
from espnet_smoe.inference.search.ctc_prefix import greedy, prefix_beam
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.options import SEARCHES
from espnet_smoe.inference.search.rescoring import rescore


@options_of("")
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
        detect_speech: Give an utterance in which nobody speaks an empty text.
        longest_seconds: Refuse longer utterances: attention to all of one needs memory
            and time that grow with the square of its length.
    """

    search: Annotated[str, OneOf(SEARCHES)] = "rescoring"
    beam_size: Count = 8
    ctc_weight: Weight = 0.5
    reverse_weight: Share | None = None
    chunk_size: Natural = 0
    left_chunks: Annotated[int, Range(-1)] = -1
    batch_size: Count = 16
    int8: bool = False
    detect_speech: bool = True
    longest_seconds: Above0 = 60.0

    def __post_init__(self) -> None:
        if self.search == "attention" and self.ctc_weight >= 1:
            raise ValueError(
                f"ctc_weight: {self.ctc_weight} leaves the decoder no say in "
                "'search: attention'; write less than 1, or 'search: prefix_beam'"
            )

    @classmethod
    def read(cls, path: str | Path) -> "U2PPDecodeOptions":
        """Read a YAML file.

        Raises:
            ValueError: The file is missing, a key unknown or a value impossible.
        """
        return cls.of(read_yaml(path, empty=True), str(path))

    @classmethod
    def of(cls, given: Mapping[str, Any], where: str) -> "U2PPDecodeOptions":
        """Options that a user gave.

        Args:
            given: Name -> value.
            where: Their place, for error messages.

        Raises:
            ValueError: A name is unknown or a value impossible.
        """
        return make(cls, given, where)


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
