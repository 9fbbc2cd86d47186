"""StreamingRecogniser: one model, many streams, computed together chunk by chunk.

recogniser = StreamingRecogniser.load("exp/u2pp")
stream = recogniser.open()
for samples in microphone:  # any number of samples at a time
    stream.accept(samples)
    while stream.ready:
        for event in recogniser.step([stream])[0]:
            print(event.kind, event.text)
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from espnet_smoe.inference.stream_events import Event, TimedToken
from espnet_smoe.inference.stream_options import StreamOptions

__all__ = ["Event", "Stream", "StreamOptions", "StreamingRecogniser", "TimedToken"]


class Stream:
    """Audio that comes piece by piece; made by `StreamingRecogniser.open`.

    Not for several threads at once: `accept` and `finish` only note the samples, all
    computing is in `StreamingRecogniser.step`, and the two must not overlap.

    Attributes:
        seconds: Audio accepted so far.
    """

    seconds: float

    def accept(self, samples: np.ndarray) -> None:
        """Take the next samples.

        Args:
            samples: ``(n,)`` float at 16 kHz within [-1, 1], any n.

        Raises:
            ValueError: The shape or type is another, a sample is NaN or infinite, or
                the stream is finished. The stream stays as it was.
        """
        raise NotImplementedError

    def finish(self) -> None:
        """Say that no samples follow; the last events come with the next steps."""
        raise NotImplementedError

    @property
    def ready(self) -> bool:
        """Whether a step would do something."""
        raise NotImplementedError

    @property
    def done(self) -> bool:
        """Whether the stream is finished and all its events have been told."""
        raise NotImplementedError

    @property
    def waiting_seconds(self) -> float:
        """Audio accepted and not yet computed."""
        raise NotImplementedError


class StreamingRecogniser:
    """Recognise many streams with one model.

    Args:
        model: A model whose encoder has ``forward_chunk``, such as `u2pp`.
        options: Of the search and the endpoints.
        join: Tokens to text, as `espnet_smoe.inference.tokens_to_text.joiner` makes.

    Raises:
        ValueError: The model cannot stream; says why, and what to do.
    """

    def __init__(
        self,
        model: nn.Module,
        options: StreamOptions = StreamOptions(),
        join: Callable[[Sequence[str]], str] = " ".join,
    ):
        raise NotImplementedError

    @classmethod
    def load(
        cls,
        path: str | Path,
        options: StreamOptions = StreamOptions(),
        device: str = "cpu",
    ) -> "StreamingRecogniser":
        """Load a packed model or an experiment's folder.

        Args:
            path: Zip file of the recipe's stage 14, or a folder.
            options: Of the search and the endpoints.
            device: Such as ``cpu`` or ``cuda``.
        """
        raise NotImplementedError

    def open(self) -> Stream:
        """A new stream."""
        raise NotImplementedError

    def step(self, streams: Sequence[Stream]) -> list[list[Event]]:
        """Compute at most one chunk of each stream that is ready, all in one batch.

        Args:
            streams: Of this recogniser, each once.

        Returns:
            New events of each, in the order of ``streams``.
        """
        raise NotImplementedError
