"""ESPnet's own beam search behind our call, for decoders that are not ours."""

import logging
from collections.abc import Sequence

import torch

from espnet_smoe.compat import (
    CTC,
    AbsDecoder,
    BatchBeamSearch,
    BatchScorerInterface,
    CTCPrefixScorer,
)
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.options import SearchOptions
from espnet_smoe.inference.search.repetition import say_once


class ESPnetBeamSearch:
    """Search one prompt after the other.

    Args:
        decoder: Any decoder that scores hypotheses in batches.
        eos: Id of the end of a sentence.
        options: Beam size, weights and lengths.
        vocab_size: V.
        ctc: CTC head of the encoder, where ``options.ctc_weight`` is not 0.

    Raises:
        ValueError: The decoder cannot be searched in batches.
    """

    def __init__(
        self,
        decoder: AbsDecoder,
        eos: int,
        options: SearchOptions,
        vocab_size: int,
        ctc: CTC | None = None,
    ):
        if not isinstance(decoder, BatchScorerInterface):
            raise ValueError(
                f"decoder {type(decoder).__name__} cannot score hypotheses in batches; "
                "use smoe_transformer or transformer"
            )
        self.decoder, self.eos, self.options = decoder, eos, options
        self.vocab_size, self.ctc = vocab_size, ctc

    @torch.inference_mode()
    def __call__(
        self,
        encoded: torch.Tensor,
        lengths: torch.Tensor,
        prompts: Sequence[Sequence[int]],
        ctc_prompt: int | None = None,
    ) -> list[list[list[Hypothesis]]]:
        """As `PromptBeamSearch`: of each prompt, of each utterance, best first."""
        return [
            self._search(encoded, lengths, list(prompt), r == ctc_prompt)
            for r, prompt in enumerate(prompts)
        ]

    def _search(
        self,
        encoded: torch.Tensor,
        lengths: torch.Tensor,
        prompt: list[int],
        with_ctc: bool,
    ) -> list[list[Hypothesis]]:
        w = self.options.ctc_weight if with_ctc and self.ctc is not None else 0.0
        search = BatchBeamSearch(
            scorers={
                "decoder": self.decoder,
                "ctc": CTCPrefixScorer(self.ctc, self.eos) if w else None,
            },
            weights={"decoder": 1.0 - w, "ctc": w},
            beam_size=self.options.beam_size,
            vocab_size=self.vocab_size,
            sos=self.eos,
            eos=self.eos,
            pre_beam_score_key="full",
            normalize_length=bool(self.options.normalize_length),
        )
        search.set_hyp_primer(prompt)
        logging.getLogger("espnet2.legacy.nets").setLevel(logging.ERROR)
        found = search(
            encoded,
            maxlenratio=self.options.maxlenratio,
            minlenratio=self.options.minlenratio,
            x_lengths=lengths,
        )
        results = [[self._normalize(h, len(prompt)) for h in nbest] for nbest in found]
        if self.options.cut_repetition:
            longest, _ = self.options.bounds(lengths.tolist())
            results = list(map(say_once, results, longest))
        return results

    def _normalize(self, hypothesis: object, prompt_length: int) -> Hypothesis:
        tokens = hypothesis.yseq[prompt_length:].tolist()
        while tokens and tokens[-1] == self.eos:  # two where it ended in the last step
            tokens.pop()
        return Hypothesis(tuple(tokens), float(hypothesis.score))
