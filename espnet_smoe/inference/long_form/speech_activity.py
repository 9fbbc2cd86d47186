"""Where somebody speaks: voice activity detection by energy, floor and spectral change.

A frame is active where some bands rise above their own noise floor, so that a steady
noise bed, a hum or an offset hides nothing. A stretch of active frames is speech if it
lasts longer than a click, if its spectrum is wider than that of tones, and if its shape
changes, as that of steady noise does not. Music and the like pass for speech.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from espnet_smoe.inference.audio import SAMPLE_RATE

HOP = 160  # samples from frame to frame, 10 ms
WINDOW = 512  # samples of a frame
MIDDLE = (WINDOW - HOP) // 2  # a frame stands for the middle of its window
HERTZ = (100.0, 7000.0)  # below is the hum of the mains, and any offset
BANDS = 16
LOWEST_DB = -100.0  # of a band, full scale 0: about the rounding noise of 16 bits
SMOOTH = 5  # frames
CHUNK = 1000  # frames that are computed at a time
FLOOR_BLOCK = 50  # frames whose quietest fifth stand for them
FLOOR_BLOCKS = 10  # before and after a frame, among which the floor is looked for
FLOOR_SHARE = 25  # percent of them that are below it
TOP_BANDS = 4  # speech in strong noise stands out in few
HIGH_DB, LOW_DB = 9.0, 6.0  # over the floor: where speech begins, and where it ends
SHORTEST_FRAMES = 8  # active ones together; a click is shorter
JOINED_FRAMES = 20  # of pause, at most, within a stretch that is judged as one
LOUD_DB = 20.0  # below the loudest frame of a stretch: these tell its kind
CHANGE_DB = 2.0  # of the spectral shape; steady noise has 1.3 at most
NARROW_BINS = 6  # hold most of the energy of three quarters of the frames of tones
MOST = 0.9  # of the energy
NEAR = 800  # samples around the start of a span where it may really begin, 50 ms
LOUDER = 2.0  # than the peak of the background


@dataclass(frozen=True)
class Span:
    """A stretch of a wave.

    Attributes:
        start: First sample.
        end: Sample behind the last.
    """

    start: int
    end: int


def speech_spans(wave: np.ndarray) -> list[Span]:
    """Where somebody speaks in a wave ``(samples,)`` at 16 kHz."""
    activity = SpeechActivity()
    activity.accept(wave)
    return activity.spans()


def onset(wave: np.ndarray, start: int) -> int:
    """Where exactly a span begins.

    A span's start is as coarse as the frames. Where it follows a quiet background, the
    first sample that is louder is found.

    Args:
        wave: ``(samples,)``, with some of the pause before the span.
        start: First sample of the span.

    Returns:
        A sample near ``start``, which itself if the background is too short.
    """
    first = max(0, start - NEAR)
    background = np.abs(wave[:first])
    if len(background) < NEAR:
        return start
    louder = np.abs(wave[first : start + NEAR]) > max(
        LOUDER * float(background.max()), 10 ** (LOWEST_DB / 20)
    )
    return first + int(louder.argmax()) if louder.any() else start


class SpeechActivity:
    """Takes a wave block by block, then tells where speech is.

    It keeps 33 bytes a frame of 10 ms, 12 MB an hour.

    Attributes:
        samples: Accepted so far.

    Example:
        >>> activity = SpeechActivity()
        >>> activity.accept(np.zeros(16000, dtype=np.float32))
        >>> activity.spans()
        []
    """

    def __init__(self) -> None:
        self.samples = 0
        self._forgotten = 0  # frames
        self._rest = np.zeros(0, dtype=np.float32)
        self._bands: list[np.ndarray] = []  # (frames, BANDS) float16, dB
        self._widths: list[np.ndarray] = []  # (frames,) uint8, bins
        hertz = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
        mel = 2595 * np.log10(1 + hertz / 700)
        low, high = (2595 * np.log10(1 + h / 700) for h in HERTZ)
        edges = np.searchsorted(mel, np.linspace(low, high, BANDS + 1))
        self._bins = slice(edges[0], edges[-1])
        self._firsts = edges[:-1] - edges[0]
        self._window = np.hanning(WINDOW).astype(np.float32)
        self._tilt = (hertz[self._bins] / 1000) ** 2  # 6 dB an octave, as speech falls

    def accept(self, samples: np.ndarray) -> None:
        """Take the next samples ``(n,)``, float at 16 kHz, full scale 1."""
        self.samples += len(samples)
        wave = np.concatenate([self._rest, samples.astype(np.float32, copy=False)])
        count = max(0, (len(wave) - WINDOW) // HOP + 1)
        self._rest = wave[count * HOP :].copy()
        for first in range(0, count, CHUNK):
            last = min(count, first + CHUNK)
            self._measure(wave[first * HOP : (last - 1) * HOP + WINDOW])

    def spans(self) -> list[Span]:
        """Stretches of speech so far, without the pauses."""
        self._join()
        if not len(self._bands[0]):
            return []
        floor = self._floor()
        score = self._scores(floor)
        spoken: list[Span] = []
        for together in _joined(active_runs(score, HIGH_DB, LOW_DB, SHORTEST_FRAMES)):
            frames = np.concatenate([np.arange(a, b) for a, b in together])
            if self._is_speech(floor, frames):
                spoken += [self._span(a, b) for a, b in together]
        return spoken

    def quietest(self, start: int, end: int) -> int:
        """The sample in the middle of the quietest frames between two samples."""
        self._join()
        first = min(max(0, (start - MIDDLE) // HOP), len(self._bands[0]) - 1)
        last = max(first + 1, (end - MIDDLE) // HOP)
        frames = np.arange(first, min(last, len(self._bands[0])))
        level = self._level(frames).mean(axis=1)
        return int(frames[level.argmin()]) * HOP + WINDOW // 2

    def forget(self, before: int) -> None:
        """Forget about what lies before a sample: for a wave that never ends."""
        self._join()
        count = min(before // HOP - self._forgotten, len(self._bands[0]))
        count = max(0, count) // FLOOR_BLOCK * FLOOR_BLOCK  # blocks stay what they were
        self._bands = [self._bands[0][count:]]
        self._widths = [self._widths[0][count:]]
        self._forgotten += count

    # -- frames ---------------------------------------------------------------------

    def _measure(self, wave: np.ndarray) -> None:
        frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP]
        spectra = np.abs(np.fft.rfft(frames * self._window)) ** 2  # (n, all bins)
        spectra = spectra[:, self._bins] * (4 / self._window.sum() ** 2)
        power = np.add.reduceat(spectra, self._firsts, axis=1)  # (n, BANDS)
        level = 10 * np.log10(power + 10 ** (LOWEST_DB / 10))
        self._bands.append(level.astype(np.float16))
        spectra *= self._tilt
        share = np.cumsum(-np.sort(-spectra, axis=1), axis=1)
        most = MOST * share[:, -1:]
        self._widths.append((share < most).sum(axis=1).astype(np.uint8))

    def _join(self) -> None:
        empty = np.zeros((0, BANDS), np.float16), np.zeros(0, np.uint8)
        self._bands = [np.concatenate([*self._bands, empty[0]])]
        self._widths = [np.concatenate([*self._widths, empty[1]])]

    def _level(self, frames: np.ndarray) -> np.ndarray:
        """``(n, BANDS)`` dB, smoothed over time."""
        bands = self._bands[0]
        near = frames[:, None] + np.arange(SMOOTH) - SMOOTH // 2
        return bands[near.clip(0, len(bands) - 1)].mean(axis=1, dtype=np.float32)

    def _over(self, floor: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """``(n, BANDS)`` dB over the noise floor of frames that are there."""
        frames = frames[frames < len(self._bands[0])]
        return np.maximum(self._level(frames) - floor[frames // FLOOR_BLOCK], 0)

    def _scores(self, floor: np.ndarray) -> np.ndarray:
        """How far each frame is above the floor in its best bands, ``(frames,)`` dB."""
        chunks = range(0, len(self._bands[0]), CHUNK)
        return np.concatenate(
            [_score(self._over(floor, np.arange(i, i + CHUNK))) for i in chunks]
        )

    def _floor(self) -> np.ndarray:
        """The noise floor of each band in each block, ``(blocks, BANDS)``.

        The quieter blocks before or those behind, whichever are louder: noise that
        begins or ends suddenly is noise from its first frame to its last.
        """
        frames = np.arange(len(self._bands[0]))
        starts = range(0, len(frames), FLOOR_BLOCK)
        of_block = (frames[i : i + FLOOR_BLOCK] for i in starts)
        quiet = np.stack([np.percentile(self._level(f), 20, axis=0) for f in of_block])
        floors = []
        for i in range(len(quiet)):
            first, behind = max(0, i - FLOOR_BLOCKS), i + 1 + FLOOR_BLOCKS
            sides = [quiet[first : i + 1], quiet[i:behind]]
            sides = [side for side in sides if len(side) > FLOOR_BLOCKS // 2]
            sides = sides or [quiet[first:behind]]
            of_sides = [np.percentile(side, FLOOR_SHARE, axis=0) for side in sides]
            floors.append(np.max(of_sides, axis=0))
        return np.stack(floors)

    def _are_loud(self, frames: np.ndarray) -> np.ndarray:
        """Which frames are about as loud as the loudest of them, ``(n,)``."""
        total = np.log10((10 ** (self._level(frames) / 10)).sum(axis=1)) * 10
        return total > total.max() - LOUD_DB

    def _is_speech(self, floor: np.ndarray, frames: np.ndarray) -> bool:
        """Whether active frames that belong together are speech, not noise or tones."""
        frames = frames[self._are_loud(frames)]
        if np.percentile(self._widths[0][frames], 75) < NARROW_BINS:
            return False
        over = self._over(floor, frames)
        bands = over[:, (over > HIGH_DB).mean(axis=0) > 0.1]  # in the bands that speak
        if bands.shape[1] < 2:
            return False
        shape = bands - bands.mean(axis=1, keepdims=True)
        return bool(shape.std(axis=0).mean() >= CHANGE_DB)

    def _span(self, first: int, last: int) -> Span:
        end = self.samples
        if last < len(self._bands[0]):
            end = (last + self._forgotten) * HOP + MIDDLE
        first += self._forgotten
        return Span(first * HOP + MIDDLE if first else 0, end)


def _score(over: np.ndarray) -> np.ndarray:
    """How far each frame ``(n, BANDS)`` is above the floor in its best bands."""
    return np.sort(over, axis=1)[:, -TOP_BANDS:].mean(axis=1)


def active_runs(
    score: np.ndarray, high: float, low: float, shortest: int
) -> list[tuple[int, int]]:
    """First frame and frame behind the last of each stretch of active frames.

    Args:
        score: ``(frames,)``.
        high: Above it a stretch is active.
        low: Below it the stretch ends.
        shortest: Frames of a stretch.
    """
    active = np.concatenate([[False], score > low, [False]])
    borders = np.flatnonzero(active[1:] != active[:-1]).reshape(-1, 2)
    return [
        (int(a), int(b))
        for a, b in borders
        if b - a >= shortest and score[a:b].max() > high
    ]


def _joined(runs: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Runs with short pauses between them are judged together."""
    groups: list[list[tuple[int, int]]] = []
    for run in runs:
        if groups and run[0] - groups[-1][-1][1] <= JOINED_FRAMES:
            groups[-1].append(run)
        else:
            groups.append([run])
    return groups
