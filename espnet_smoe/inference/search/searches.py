"""The searches of this package, by name: two by CTC alone, two with decoders, one by a
graph of words."""

from typing import Any

import numpy as np

from espnet_smoe.inference.search.beam_search import PromptBeamSearch
from espnet_smoe.inference.search.ctc_prefix import greedy, prefix_beam
from espnet_smoe.inference.search.encoded_batch import EncodedBatch
from espnet_smoe.inference.search.hypothesis import Hypothesis, WordHypothesis
from espnet_smoe.inference.search.options import SearchOptions
from espnet_smoe.inference.search.registry import Search, register_search
from espnet_smoe.inference.search.rescoring import rescore


@register_search("greedy", models=("u2pp", "speech_moe"))
def greedy_search(model: Any, options: Any) -> Search:
    """The best label of each frame, scored by the probability of that path."""

    def best(log_probs: np.ndarray) -> list[Hypothesis]:
        score = float(log_probs.max(axis=1).sum())
        return [Hypothesis(tuple(greedy(log_probs, model.blank_id)), score)]

    return lambda batch: [best(log_probs) for log_probs in batch.log_probs]


@register_search("prefix_beam", models=("u2pp", "speech_moe"))
def prefix_beam_search(model: Any, options: Any) -> Search:
    """The best texts, each summed over its alignments."""
    return lambda batch: [
        prefix_beam(log_probs, model.blank_id, options.beam_size)
        for log_probs in batch.log_probs
    ]


@register_search("attention", models=("u2pp", "smoe"))
def attention_search(model: Any, options: Any) -> Search:
    """The decoder from left to right, and CTC where it has a weight.

    The results are those of ESPnet's ``BatchBeamSearch``.

    Raises:
        ValueError: The decoder would have no weight.
    """
    if options.ctc_weight >= 1:
        raise ValueError(
            f"ctc_weight: {options.ctc_weight} leaves the decoder no say in "
            "'search: attention'; write less than 1, or 'search: prefix_beam'"
        )
    own = SearchOptions(options.beam_size, options.ctc_weight)
    silence = [Hypothesis((), 0.0)]  # where there is no frame, there is no step

    def search(batch: EncodedBatch) -> list[list[Hypothesis]]:
        ctc = None if model.ctc is None else batch.ctc
        beam_search = PromptBeamSearch(model.decoder, model.eos, own, ctc)
        given = batch.encoder_out, batch.lengths, [[model.sos]]
        found = beam_search(*given, ctc_prompt=0)[0]
        return [nbest[: own.beam_size] or silence for nbest in found]

    return search


@register_search("rescoring", models=("u2pp",))
def rescoring_search(model: Any, options: Any) -> Search:
    """Both decoders choose among what the prefix beam finds."""
    reverse = options.reverse_weight
    find = prefix_beam_search(model, options)
    return lambda batch: rescore(
        model.decoder,
        batch.encoder_out,
        batch.lengths,
        find(batch),
        ctc_weight=options.ctc_weight,
        reverse_weight=model.reverse_weight if reverse is None else reverse,
        sos=model.sos,
        eos=model.eos,
    )


@register_search("wfst", models=("speech_moe",))
class GraphSearch:
    """The best words by a decoding graph, with the units that spell them.

    Raises:
        ValueError: No graph is given, or it is not of this model.
    """

    def __init__(self, model: Any, options: Any):
        from espnet_smoe.inference.wfst.decoder import WfstDecoder

        if not options.graph:
            raise ValueError("search: wfst needs --graph (stage 8 makes it)")
        self.decoder = WfstDecoder(
            options.graph,
            tokens=model.token_list,
            beam=options.beam,
            max_active=options.max_active,
            lattice_beam=options.lattice_beam,
            acoustic_scale=options.acoustic_scale,
        )
        self.nbest = options.nbest

    def __call__(self, batch: EncodedBatch) -> list[list[WordHypothesis]]:
        """The hypotheses of each utterance; an empty one where no path is possible."""
        nothing = [WordHypothesis((), -np.inf, complete=False)]
        return [self.decoder.decode(p, self.nbest) or nothing for p in batch.log_probs]
