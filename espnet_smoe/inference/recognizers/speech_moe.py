"""SpeechMoE: units of a CTC head, and words by a decoding graph."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from espnet_smoe.config.options import options_of, section
from espnet_smoe.config.typed import Above0, Count
from espnet_smoe.inference.result import Result
from espnet_smoe.inference.search.encoded_batch import EncodedBatch
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.options import DecodeOptions
from espnet_smoe.inference.speech_to_text import SpeechToText

UNITS, WORDS = "units", "words"


@options_of("")
@dataclass(frozen=True)
class CTCDecodeOptions(DecodeOptions):
    """What the decoding YAML of a CTC model may hold.

    Attributes:
        search: ``wfst`` (words, by the graph), ``prefix_beam`` or ``greedy`` (units).
        beam_size: Prefixes kept by ``prefix_beam``.
        beam: Costs over the best that ``wfst`` keeps.
        max_active: States that ``wfst`` keeps.
        lattice_beam: Costs over the best that the lattice of ``wfst`` keeps.
        acoustic_scale: Weight of the acoustic log-probabilities against the graph's.
        graph: Folder of the decoding graph, for ``wfst``.
    """

    search: str = "wfst"
    batch_size: Count = 16
    beam_size: Count = 8
    beam: Above0 = 15.0
    max_active: Count = 7000
    lattice_beam: Above0 = 6.0
    acoustic_scale: Above0 = 1.0
    graph: str | None = None

    model: ClassVar[str] = "speech_moe"

    @classmethod
    def of(cls, given: Mapping[str, Any], where: str) -> Self:
        """As of `DecodeOptions`; units only where no search and no graph is named."""
        given = section(given, where)
        if "search" not in given and not given.get("graph"):
            given = {"search": "prefix_beam", **given}
        return super().of(given, where)


class SpeechMoESpeechToText(SpeechToText):
    """A trained SpeechMoE model: what was said in its units, and in words.

    Options are those of `CTCDecodeOptions`. The task ``units`` is what the CTC head
    writes; with ``search: wfst`` there is ``words``, too.
    """

    Options = CTCDecodeOptions
    utterance_seconds = 60.0

    @property
    def tasks(self) -> tuple[str, ...]:
        """``units``, and where a graph finds them ``words``."""
        return (WORDS, UNITS) if self.options.search == "wfst" else (UNITS,)

    def _detokenizer(self, config: Mapping[str, Any]) -> Any:
        return " ".join

    def is_timed(self, task: str) -> bool:
        """Units are; the graph's words are not."""
        return task == UNITS and super().is_timed(task)

    def _results(
        self,
        batch: EncodedBatch,
        number: int,
        found: Mapping[str, Sequence[Hypothesis]],
        name: str,
        seconds: float,
    ) -> dict[str, Result]:
        """The words stand for the same path as the units: they share its confidence."""
        results = super()._results(batch, number, found, name, seconds)
        if WORDS in results:
            best = found[WORDS][0]
            if not best.complete:
                logging.warning(
                    "%s: no path reaches the end of the graph; its hypothesis, of %d "
                    "words, may lack some; try a larger beam",
                    name,
                    len(best.words),
                )
            nbest = found[WORDS][: self.nbest]
            pairs = tuple((" ".join(h.words), h.score) for h in nbest)
            text = pairs[0][0]
            results[WORDS] = replace(
                results[WORDS],
                text=text,
                tokens=best.words,
                nbest=pairs,
                timed=(),
                words=(),
            )
        return results
