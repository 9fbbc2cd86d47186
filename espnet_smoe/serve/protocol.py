"""What a client may send, and what it gets for anything else.

A client sends, in this order:

1. ``{"type": "start", "rate": 8000}``, a text frame; may be left out for 16 kHz.
2. Binary frames of mono audio, signed 16 bit, little endian, of any length up to
   `LARGEST_FRAME` bytes.
3. ``{"type": "end"}``, a text frame: no more audio follows.

It gets the events of its stream as text frames of JSON, then ``{"type": "done"}`` and
the close of the connection; or ``{"type": "error", "message": ...}`` and a close code.
A frame after ``end`` is such an error too, but sent after the last event. The codes:

| code | why |
|---|---|
| 1000 | all events were sent |
| 1001 | the server stops |
| 1003 | a frame that the protocol does not know |
| 1008 | too much audio, no audio for too long, or a session that lasts too long |
| 1009 | a frame too large |
| 1011 | the model failed on this stream |
| 1013 | too many sessions, or the server is behind: try again later |

A client whose frames are more than the server reads in a second is read more slowly.
"""

import json

import numpy as np

from espnet_smoe.config.options import reject_unknown
from espnet_smoe.data.speech.raw_pcm import RawCheck
from espnet_smoe.data.speech.resample import SAMPLE_RATE

LOWEST_RATE, HIGHEST_RATE = 8000, 48000  # Hz
LARGEST_FRAME = 2**18  # bytes of audio: 8 s at 16 kHz
LONGEST_TEXT = 2**12  # characters
MOST_TOLD = 400  # characters at each end of what is told of a client's words
FULL_SCALE = 32768.0

DONE, STOPS, UNKNOWN, LIMIT, TOO_LARGE, BROKEN, FULL = (
    *(1000, 1001, 1003, 1008, 1009, 1011, 1013),
)


class SessionError(ValueError):
    """Ends one session; nobody else's.

    Args:
        message: Cause and cure, for the client; what it quotes of a frame may hold
            anything.
        code: Of the close frame.
    """

    def __init__(self, message: str, code: int = UNKNOWN):
        super().__init__(printable(message))
        self.code = code


def printable(text: str) -> str:
    """Escape what cannot be sent, or would begin a line of its own in a log.

    Of a long text the beginning and the end are left: one client's words shall fill
    neither the log nor the time of the others.

    Example:
        >>> printable("clé\\n\\ud800")
        'clé\\\\n\\\\ud800'
    """
    if len(text) > 2 * MOST_TOLD:
        text = f"{text[:MOST_TOLD]} ... {text[-MOST_TOLD:]}"
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


class Incoming:
    """Turn the frames of one client into samples.

    Attributes:
        ended: The client has announced that no more audio follows.

    Example:
        >>> incoming = Incoming()
        >>> incoming.read('{"type": "start", "rate": 16000}')
        array([], dtype=float32)
        >>> incoming.read(bytes([0, 64, 0, 192]))
        array([ 0.5, -0.5], dtype=float32)
    """

    def __init__(self) -> None:
        self.ended = False
        self._begun = False
        self._resampler = None
        self._check = RawCheck(noise=True)

    def read(self, frame: str | bytes) -> np.ndarray:
        """Take the next frame.

        Args:
            frame: Text, or bytes of audio.

        Returns:
            ``(samples,)`` float32 at 16 kHz within [-1, 1], empty for most texts.

        Raises:
            SessionError: The frame is none of those that may come now.
        """
        if self.ended:
            raise SessionError("a frame after 'end'; open another connection")
        if isinstance(frame, bytes):
            return self._audio(frame)
        return self._text(frame)

    def _audio(self, frame: bytes) -> np.ndarray:
        if len(frame) > LARGEST_FRAME:
            raise SessionError(
                f"a frame of {len(frame)} bytes; send at most {LARGEST_FRAME} at once",
                TOO_LARGE,
            )
        if frame[:1] == b"{" and _is_json(frame):
            raise SessionError("JSON in a binary frame; send it as a text frame")
        if len(frame) % 2:
            raise SessionError(
                f"a binary frame of {len(frame)} bytes; audio is signed 16 bit, two "
                "bytes a sample: cut between samples"
            )
        self._look(frame)
        self._begun = True
        wave = np.frombuffer(frame, "<i2").astype(np.float32) / FULL_SCALE
        if self._resampler is None:
            return wave
        return self._resampler.resample_chunk(wave)

    def _look(self, frame: bytes, last: bool = False) -> None:
        """Refuse what is no raw audio, a container as well as another format."""
        if found := self._check(frame, last):
            raise SessionError(
                f"binary frames of what looks like {found}; send raw audio: signed 16 "
                "bit, little endian, mono, without a header"
            )

    def _text(self, frame: str) -> np.ndarray:
        message = read_message(frame)
        match message.get("type"):
            case "start":
                self._start(message)
            case "end":
                reject(message, ["type"])
                self._look(b"", last=True)
                self.ended = True
                if self._resampler is not None:  # what it still holds
                    return self._resampler.resample_chunk(_nothing(), last=True)
            case other:
                raise SessionError(
                    f"a text frame of type {json.dumps(other)}; send 'start' or 'end'"
                )
        return _nothing()

    def _start(self, message: dict) -> None:
        reject(message, ["type", "rate"])
        if self._begun:
            raise SessionError("'start' comes once, before the first audio")
        self._begun = True
        rate = message.get("rate", SAMPLE_RATE)
        number = isinstance(rate, int | float) and not isinstance(rate, bool)
        if not number or not LOWEST_RATE <= rate <= HIGHEST_RATE or rate % 1:
            raise SessionError(
                f"rate {json.dumps(rate)}; it must be a whole number, {LOWEST_RATE} to "
                f"{HIGHEST_RATE} Hz"
            )
        if rate != SAMPLE_RATE:
            import soxr

            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1)


def reject(message: dict, known: list[str]) -> None:
    """Refuse keys that nothing reads.

    Raises:
        SessionError: Names them and the known ones.
    """
    try:
        reject_unknown(message, known, f"'{message['type']}'")
    except ValueError as error:
        raise SessionError(str(error)) from error


def read_message(frame: str, longest: int = LONGEST_TEXT) -> dict:
    """The object that a text frame holds.

    Args:
        frame: JSON.
        longest: Characters.

    Raises:
        SessionError: It is too long, or no object.
    """
    if len(frame) > longest:
        raise SessionError(
            f"a text frame of {len(frame)} characters; audio goes in binary frames",
            TOO_LARGE,
        )
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError) as error:
        raise SessionError(
            f"a text frame that is no JSON ({error}); audio goes in binary frames"
        ) from error
    if not isinstance(message, dict):
        raise SessionError('a text frame must be an object such as {"type": "end"}')
    return message


def _is_json(frame: bytes) -> bool:
    try:
        return isinstance(json.loads(frame), dict)
    except (ValueError, RecursionError):
        return False


def _nothing() -> np.ndarray:
    return np.zeros(0, dtype=np.float32)
