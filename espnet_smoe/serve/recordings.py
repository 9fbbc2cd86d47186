"""Many recordings, one model: their pieces are decoded together.

Each recording is looked at in a thread, cut in its pauses, and hands over a few pieces
at a time; the model takes a batch of what waits, a piece of each recording in turn, so
that an hour does not keep a sentence waiting.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from espnet_smoe.data.speech.audio import SAMPLE_RATE
from espnet_smoe.serve.limits import Limits

if TYPE_CHECKING:
    from espnet_smoe.inference.long_form.long_audio import Piece
    from espnet_smoe.inference.long_form.segmentation import Cut
    from espnet_smoe.inference.result import Result
    from espnet_smoe.inference.speech_to_text import SpeechToText

READERS = 2  # threads that read files and look for speech
AHEAD = 2  # batches of a recording that wait, at most
FADES = 0.9  # what a batch leaves of the weight of those before it
type Outcome = dict[str, Result] | Exception
Measured = Callable[[int, float, float], None]


@dataclass(eq=False)
class Recording:
    """A file that somebody wants the text of.

    Attributes:
        path: Of the file.
        name: As the client calls it.
        tasks: Names.
        language: That is spoken, where a model's prompts name it; None for the model's.
        experts: Tell which its pieces went to.
        seconds: How long it is.
        bandwidth: Its label.
        cuts: Where speech is.
        left: Seconds of speech that are not decoded yet.
    """

    path: str
    name: str
    tasks: tuple[str, ...]
    language: str | None = None
    experts: bool = False
    seconds: float = 0.0
    bandwidth: str = ""
    cuts: "Sequence[Cut]" = ()
    left: float = 0.0
    waiting: "deque[_Waiting]" = field(default_factory=deque)


@dataclass(eq=False)
class _Waiting:
    """A piece of a recording that is to be decoded."""

    recording: Recording
    cut: "Cut"
    wave: np.ndarray
    found: "asyncio.Future[Piece]"


class Recordings:
    """Decodes the pieces of all recordings.

    Args:
        model: Takes batches of pieces.
        limits: Seconds of audio of a recording.
        measured: Told of each batch its size, and the seconds of audio and of work.
    """

    def __init__(
        self,
        model: "SpeechToText",
        limits: Limits = Limits(),
        measured: Measured = lambda size, audio, work: None,
    ):
        self.model, self.limits, self._measured = model, limits, measured
        self._watching = model.watching_experts()
        self._open: dict[Recording, None] = {}
        self._work = asyncio.Event()
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._audio = self._seconds = 0.0  # of the last batches

    @property
    def wait(self) -> float:
        """Seconds until what is there has been decoded; 0 before anything was."""
        if not self._seconds:
            return 0.0
        speed = max(self._audio / self._seconds, 1e-3)
        return sum(recording.left for recording in self._open) / speed

    async def look(
        self,
        path: str,
        name: str,
        tasks: Sequence[str],
        bandwidth: str = "auto",
        language: str | None = None,
        experts: bool = False,
    ) -> Recording:
        """Find the speech of a file.

        Args:
            path: Of the file; it stays where it is until the pieces are done.
            name: As the client calls it.
            tasks: Names that the model knows.
            bandwidth: ``auto`` or a label.
            language: That is spoken, see `Recording`.
            experts: See `Recording`.

        Raises:
            ValueError: It is no recording, is cut off, or too long.
        """
        recording = Recording(path, name, tuple(tasks), language, experts)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._readers, self._look, recording, bandwidth)
        return recording

    def _look(self, recording: Recording, bandwidth: str) -> None:
        from espnet_smoe.data.speech.ffmpeg import converting_at_most
        from espnet_smoe.inference.long_form.long_audio import cuts_of
        from espnet_smoe.inference.long_form.speech_pieces import find_speech

        path, name = recording.path, recording.name
        try:
            with converting_at_most(self.limits.seconds):
                activity, label = find_speech(
                    path, self.limits.seconds, strict=True, vad=self.model.vad
                )
        except ValueError as error:
            raise ValueError(str(error).replace(path, name)) from error
        recording.seconds = activity.samples / SAMPLE_RATE
        recording.bandwidth = label if bandwidth == "auto" else bandwidth
        self.model.check_label(recording.bandwidth, name)
        recording.cuts = cuts_of(self.model, activity, recording.tasks, name)
        recording.left = sum(c.end - c.start for c in recording.cuts) / SAMPLE_RATE

    async def pieces(self, recording: Recording) -> "AsyncIterator[Piece]":
        """Yield what is found in each piece of a recording, in their order.

        Raises:
            Exception: The model has failed on one.
        """
        from espnet_smoe.inference.long_form.seams import neighbors

        loop = asyncio.get_running_loop()
        reader = _Reader(self.model, recording)
        most = AHEAD * self.model.batch_size
        pending: deque[_Waiting] = deque()
        held: Piece | None = None  # it overlaps the next one
        self._open[recording] = None
        try:
            more = True
            while more or pending:
                while more and len(pending) < most:
                    part = await loop.run_in_executor(self._readers, reader.next)
                    more = part is not None
                    if part is not None:
                        pending.append(_Waiting(recording, *part, loop.create_future()))
                        recording.waiting.append(pending[-1])
                        self._work.set()
                if pending:
                    first = pending.popleft()
                    piece = await first.found
                    if held is not None:
                        held, piece = neighbors(held, piece, self.model.join)
                        yield held
                    held = piece if first.cut.goes_on else None
                    if held is None:
                        yield piece
        finally:
            del self._open[recording]
            recording.waiting.clear()
            for waiting in pending:
                waiting.found.cancel()
            with suppress(RuntimeError):  # the server has stopped
                self._readers.submit(reader.close)

    async def run(self) -> None:
        """Work until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            with ThreadPoolExecutor(1, "recordings") as worker:
                while True:
                    await self._work.wait()
                    self._work.clear()
                    while batch := self._take():
                        begun = time.perf_counter()
                        found = await loop.run_in_executor(worker, self._decode, batch)
                        self._deliver(batch, found, time.perf_counter() - begun)
        finally:
            self._readers.shutdown(wait=False)

    def _take(self) -> list[_Waiting]:
        """A batch: a piece of each recording in turn, of which the same is asked."""
        waiting = [recording for recording in self._open if recording.waiting]
        if not waiting:
            return []
        size = self.model.batch_size
        first = waiting[0]
        together = [r for r in waiting if _asked(r) == _asked(first)]
        batch: list[_Waiting] = []
        while together and len(batch) < size:
            batch += [r.waiting.popleft() for r in together[: size - len(batch)]]
            together = [r for r in together if r.waiting]
        self._open[first] = self._open.pop(first)  # it is the last one next time
        return batch

    def _decode(self, batch: list[_Waiting]) -> list[Outcome]:
        """Results of each piece; where a batch fails, piece by piece."""
        from espnet_smoe.inference.long_form.early_ends import recognize_cuts

        first = batch[0].recording
        try:
            model: Any = self._watching if first.experts else self.model
            if first.language is not None:
                model = model.in_language(first.language)
            return recognize_cuts(
                model,
                [part.cut for part in batch],
                [part.wave for part in batch],
                [part.recording.bandwidth for part in batch],
                first.tasks,
                [part.recording.name for part in batch],
            )
        except Exception as error:  # of any type, such as too little memory
            if len(batch) == 1:
                logging.exception("the model failed on a piece of a recording")
                return [error]
            logging.warning("a batch of %d pieces failed, now one by one", len(batch))
            return [outcome for part in batch for outcome in self._decode([part])]

    def _deliver(
        self, batch: list[_Waiting], found: list[Outcome], seconds: float
    ) -> None:
        from espnet_smoe.inference.long_form.long_audio import Piece

        audio = 0.0
        for part, outcome in zip(batch, found):
            start, end = part.cut.start / SAMPLE_RATE, part.cut.end / SAMPLE_RATE
            audio += end - start
            part.recording.left = max(0.0, part.recording.left - (end - start))
            if part.found.done():  # cancelled: the client has gone
                continue
            if isinstance(outcome, Exception):
                part.found.set_exception(outcome)
            else:
                part.found.set_result(Piece(start, end, outcome))
        self._audio = FADES * self._audio + audio
        self._seconds = FADES * self._seconds + seconds
        self._measured(len(batch), audio, seconds)


def _asked(recording: Recording) -> tuple:
    return recording.tasks, recording.language, recording.experts


class _Reader:
    """Reads a recording piece by piece, in whichever thread.

    Args:
        model: Knows the margins of its training.
        recording: With its cuts.
    """

    def __init__(self, model: "SpeechToText", recording: Recording):
        self._model, self._recording = model, recording
        self._lock = threading.Lock()
        self._parts = self._read()

    def next(self) -> "tuple[Cut, np.ndarray] | None":
        """The next piece; None behind the last one."""
        with self._lock:
            return next(self._parts, None)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._parts.close()

    def _read(self) -> "Iterator[tuple[Cut, np.ndarray]]":
        from espnet_smoe.inference.long_form.speech_pieces import pieces

        model, recording = self._model, self._recording
        for cut, wave in pieces(recording.path, recording.cuts, strict=True):
            own = cut.of(wave, model.lead_seconds, model.tail_seconds)
            yield own, wave[own.start - cut.start : own.end - cut.start]
