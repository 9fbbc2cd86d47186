"""Attention decoding of a model whose prompt is the one token that begins a text."""

from typing import Any

import torch

from espnet_smoe.inference.search.beam_search import PromptBeamSearch
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.options import SearchOptions


def attention_search(
    model: Any,
    encoded: torch.Tensor,
    lengths: torch.Tensor,
    beam_size: int = 10,
    ctc_weight: float = 0.0,
    maxlenratio: float = 0.0,
    minlenratio: float = 0.0,
    ctc: Any = None,
) -> list[list[Hypothesis]]:
    """Search the texts that the decoder from left to right gives to utterances.

    The results are those of ESPnet's ``BatchBeamSearch``.

    Args:
        model: Has ``decoder``, ``ctc``, ``sos`` and ``eos``.
        encoded: Encoder's output ``(B, T, D)``.
        lengths: ``(B,)`` frames.
        beam_size: Hypotheses kept, and at most given for each utterance.
        ctc_weight: Weight w in w CTC + (1 - w) decoder, in 0..1, without 1.
        maxlenratio: Longest text over encoder frames; 0 detects the end; negative is
            a number of tokens.
        minlenratio: Shortest text over encoder frames; negative is a number of tokens.
        ctc: In place of the model's, such as `EncodedBatch.ctc`.

    Returns:
        The hypotheses of each utterance, at least one, best first.

    Raises:
        ValueError: The beam is below 1, or the weight out of its range.

    Example:
        >>> from types import SimpleNamespace
        >>> from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
        >>> decoder = U2PPTransformerDecoder(10, 16, 2, 32, 1, 1).eval()
        >>> model = SimpleNamespace(decoder=decoder, ctc=None, sos=9, eos=9)
        >>> encoded, lengths = torch.zeros(1, 7, 16), torch.tensor([7])
        >>> len(attention_search(model, encoded, lengths, beam_size=2))
        1
    """
    options = SearchOptions(beam_size, ctc_weight, maxlenratio, minlenratio)
    search = PromptBeamSearch(model.decoder, model.eos, options, ctc or model.ctc)
    found = search(encoded, lengths, [[model.sos]], ctc_prompt=0)[0]
    silence = [Hypothesis((), 0.0)]  # where there is no frame, there is no step
    return [nbest[:beam_size] or silence for nbest in found]
