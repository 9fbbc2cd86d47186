"""Where somebody speaks, by the network of silero-vad, whose wheel holds its weights.

onnxruntime runs it: neither torch nor torchaudio is imported.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.long_form.speech_activity import (
    HOP,
    LOW_DB,
    MIDDLE,
    Span,
    SpeechActivity,
    active_runs,
)

BLOCK = 512  # samples that the network judges at a time, 32 ms
CONTEXT = 64  # samples before them that it sees again
STATE = (2, 1, 128)
WEIGHTS = "data/silero_vad.onnx"  # in its package
# silero-vad's own thresholds: where speech begins, and where it ends
BEGIN, END = 0.5, 0.35
SHORTEST_BLOCKS = 3  # of speech
LATE_BLOCKS = 3  # of silence that the network takes for speech at an end


class SileroActivity(SpeechActivity):
    """As its base, but speech is what the network takes for it.

    The bands of its base tell where speech without a pause is quietest, and where
    silence begins and ends within the blocks at either end of a stretch: models know
    their texts by the margins of their training. It keeps 8 bytes more a block of
    32 ms.

    Raises:
        ValueError: A package of the extra ``vad`` is missing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._network = _network()
        self._state = np.zeros(STATE, np.float32)
        self._heard = np.zeros(CONTEXT, np.float32)  # context, and what waits
        self._first_block = 0
        self._probabilities: list[float] = []

    def accept(self, samples: np.ndarray) -> None:
        """Take the next samples ``(n,)``, float at 16 kHz, full scale 1."""
        super().accept(samples)
        wave = np.concatenate([self._heard, samples.astype(np.float32, copy=False)])
        first = 0
        while first + CONTEXT + BLOCK <= len(wave):
            probability, self._state = self._judge(
                wave[first : first + CONTEXT + BLOCK]
            )
            self._probabilities.append(probability)
            first += BLOCK
        self._heard = wave[first:].copy()

    def spans(self) -> list[Span]:
        """Stretches of speech so far, without the pauses."""
        probabilities = np.array([*self._probabilities, self._rest_probability()])
        self._join()
        above = self._scores(self._floor()) > LOW_DB if len(self._bands[0]) else []
        spans: list[Span] = []
        for first, last in active_runs(probabilities, BEGIN, END, SHORTEST_BLOCKS):
            start, end = self._without_silence(
                first + self._first_block, last + self._first_block, above
            )
            if spans and start <= spans[-1].end:
                spans[-1] = Span(spans[-1].start, end)
            else:
                spans.append(Span(start, end))
        return spans

    def _without_silence(
        self, first: int, last: int, above: Sequence[bool]
    ) -> tuple[int, int]:
        """First sample of a stretch of blocks, and the one behind its last.

        Args:
            first: Block.
            last: Block behind the last.
            above: Whether each frame is above the noise floor.
        """
        # a block more on either side: the network is as coarse as its blocks
        start, end = max(0, (first - 1) * BLOCK), min(self.samples, (last + 1) * BLOCK)
        begin, until = ((s - MIDDLE) // HOP - self._forgotten for s in (start, end))
        frames = np.arange(max(0, begin), min(until + 1, len(above)))
        if not len(frames):
            return start, end
        loud = frames[np.asarray(above)[frames] | self._are_loud(frames)]
        begin, until = (
            (int(frame) + self._forgotten) * HOP + MIDDLE for frame in loud[[0, -1]]
        )
        if loud[-1] < len(above) - 1:  # what follows the last fills no frame
            end = min(end, max(until + HOP, (last - LATE_BLOCKS) * BLOCK))
        if loud[0] > 0:
            start = max(start, min(begin, first * BLOCK))
        return start, end

    def forget(self, before: int) -> None:
        """Forget about what lies before a sample: for a wave that never ends."""
        super().forget(before)
        count = max(0, before // BLOCK - self._first_block)
        del self._probabilities[:count]
        self._first_block += count

    def _judge(self, block: np.ndarray) -> tuple[float, np.ndarray]:
        """How probable speech is in a block with its context, and the next state."""
        given = {
            "input": block[None],  # (1, CONTEXT + BLOCK)
            "state": self._state,
            "sr": np.array(SAMPLE_RATE, np.int64),
        }
        probability, state = self._network.run(None, given)
        return float(probability.item()), state

    def _rest_probability(self) -> float:
        """Of the samples that do not fill a block yet, with zeros behind them."""
        rest = len(self._heard) - CONTEXT
        if not rest:
            return 0.0
        return self._judge(np.pad(self._heard, (0, BLOCK - rest)))[0]


def is_installed() -> bool:
    """Whether there are the network and what runs it."""
    return not _missing()


def _missing() -> list[str]:
    return [name for name in ("silero_vad", "onnxruntime") if not find_spec(name)]


@cache
def _network() -> Any:
    """The network, loaded once: any number of threads may run it."""
    if missing := _missing():
        raise ValueError(
            f"vad: silero needs {' and '.join(missing)}: "
            "pip install 'espnet_smoe[vad]', or choose energy"
        )
    import onnxruntime

    found = find_spec("silero_vad")
    assert found is not None and found.origin is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # what it removes of the graph is no warning to us
    path = Path(found.origin).parent / WEIGHTS
    return onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
