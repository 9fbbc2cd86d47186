"""U2++: whole recordings, in several ways to decode.

Audio that is still being spoken is for `streaming.recognizer.StreamingRecognizer`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch

from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Count, Natural, Range, Share, Weight
from espnet_smoe.inference.search.options import DecodeOptions
from espnet_smoe.inference.speech_to_text import SpeechToText


@options_of("")
@dataclass(frozen=True)
class U2PPDecodeOptions(DecodeOptions):
    """What the decoding YAML of a U2++ model may hold.

    Attributes:
        search: ``greedy`` and ``prefix_beam`` use the CTC head alone, ``attention`` the
            left-to-right decoder, ``rescoring`` both decoders on the prefixes.
        beam_size: Hypotheses kept.
        ctc_weight: Weight of the CTC score in ``attention`` and ``rescoring``.
        reverse_weight: Weight of the right-to-left decoder in ``rescoring``; None for
            the one of training.
        chunk_size: Encoder frames that are seen at once; 0 for the whole utterance.
        left_chunks: Chunks before them that are seen, too; -1 for all.
    """

    search: str = "rescoring"
    batch_size: Count = 16
    beam_size: Count = 8
    ctc_weight: Weight = 0.5
    reverse_weight: Share | None = None
    chunk_size: Natural = 0
    left_chunks: Annotated[int, Range(-1)] = -1

    model: ClassVar[str] = "u2pp"


class U2PPSpeechToText(SpeechToText):
    """A trained U2++ model that transcribes.

    Options are those of `U2PPDecodeOptions`, such as ``search`` or ``chunk_size``.
    """

    Options = U2PPDecodeOptions
    # attention to all of an utterance needs memory that grows with its square
    utterance_seconds = 60.0

    def _encode(
        self, waves: Sequence[np.ndarray], labels: Sequence[str], names: Sequence[str]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        chunks = self.options.chunk_size, self.options.left_chunks
        return self.encoder(waves, chunk_size=chunks[0], left_chunks=chunks[1])

    def _frame_seconds(self, seconds: float, frames: int) -> float:
        return self.encoder.frame_seconds
