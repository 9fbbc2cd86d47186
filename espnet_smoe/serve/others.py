"""The websocket protocols of sherpa-onnx's and of WeNet's servers, for their clients.

sherpa-onnx, ``/sherpa-onnx``:

    -> 32-bit float samples, 16 kHz mono, in binary frames; then the text Done
    <- {"text": ..., "tokens": [...], "timestamps": [...], "segment": 0, ...}
    <- Done!

WeNet, ``/wenet``:

    -> {"signal": "start", "nbest": 1, "continuous_decoding": true}
    <- {"status": "ok", "type": "server_ready"}
    -> signed 16-bit samples, 16 kHz mono, in binary frames; then {"signal": "end"}
    <- {"status": "ok", "type": "partial_result", "nbest": "[{\\"sentence\\": ...}]"}
    <- {"status": "ok", "type": "final_result", "nbest": ...}
    <- {"status": "ok", "type": "speech_end"}

One hypothesis is answered, whatever ``nbest`` asks for, and all of the audio, also
where ``continuous_decoding`` is false and WeNet's server would stop at the first pause.
"""

import json

import numpy as np

from espnet_smoe.inference.streaming.events import Event
from espnet_smoe.serve.dialects import Dialect, as_json
from espnet_smoe.serve.protocol import Incoming, SessionError, read_message

BYTES = 4  # of a sample of sherpa-onnx
DIGITS = 3  # of seconds


class SherpaDialect(Dialect):
    """As sherpa-onnx's online websocket server."""

    def __init__(self, model: str | None = None) -> None:
        super().__init__(model)
        self._segment = 0

    def read(self, frame: str | bytes) -> np.ndarray:
        """Take samples, or the end."""
        if self.ended:
            raise SessionError("a frame after 'Done'; open another connection")
        if isinstance(frame, str):
            if frame != "Done":
                raise SessionError("a text frame; send samples, and 'Done' at the end")
            self.ended = True
            return np.zeros(0, np.float32)
        if len(frame) % BYTES:
            raise SessionError(
                f"a binary frame of {len(frame)} bytes; audio is 32-bit float, "
                f"{BYTES} bytes a sample"
            )
        wave = np.frombuffer(frame, "<f4")
        # what is no number of this size is not seen as a wave of another kind
        if not np.all(np.abs(wave) <= 2.0):
            raise SessionError(
                "samples beyond [-1, 1]; send 32-bit floats, not integers"
            )
        return np.clip(wave, -1.0, 1.0)

    def event(self, event: Event) -> list[str]:
        """A result; those of one utterance have the same number."""
        result = {
            "text": event.text,
            "tokens": [token.token for token in event.tokens],
            "timestamps": [
                round(token.start - event.start, DIGITS) for token in event.tokens
            ],
            "segment": self._segment,
            "start_time": round(event.start, DIGITS),
            "is_final": event.kind == "final",
            "is_eof": False,
        }
        self._segment += event.kind == "final"
        return [as_json(result)]

    def done(self) -> list[str]:
        """That all has been said."""
        return ["Done!"]


class WenetDialect(Dialect):
    """As WeNet's websocket server."""

    def __init__(self, model: str | None = None) -> None:
        super().__init__(model)
        self._incoming = Incoming()
        self._started = False
        self._answers: list[str] = []

    def read(self, frame: str | bytes) -> np.ndarray:
        """Take a signal, or samples."""
        if self.ended:
            raise SessionError("a frame after 'end'; open another connection")
        if isinstance(frame, bytes):
            if not self._started:
                raise SessionError('audio before {"signal": "start"}')
            return self._incoming.read(frame)
        match read_message(frame).get("signal"):
            case "start" if not self._started:
                self._started = True
                self._answers.append(_wenet("server_ready"))
            case "end":
                self.ended = True
            case other:
                raise SessionError(
                    f"the signal {json.dumps(other)}; send 'start' once, and 'end'"
                )
        return np.zeros(0, np.float32)

    def answers(self) -> list[str]:
        """That the audio may come."""
        answers, self._answers = self._answers, []
        return answers

    def event(self, event: Event) -> list[str]:
        """A result; its list of hypotheses is JSON as a text."""
        best: dict = {"sentence": event.text}
        if event.kind == "final":
            best["word_pieces"] = [
                {
                    "word": token.token,
                    "start": round(1000 * token.start),
                    "end": round(1000 * token.end),
                }
                for token in event.tokens
            ]
        nbest = json.dumps([best], ensure_ascii=False)
        return [_wenet(f"{event.kind}_result", nbest=nbest)]

    def done(self) -> list[str]:
        """That all has been said."""
        return [_wenet("speech_end")]

    def error(self, error: SessionError) -> list[str]:
        """Cause and cure."""
        return [as_json({"status": "failed", "message": str(error)})]


def _wenet(kind: str, **more: str) -> str:
    return as_json({"status": "ok", "type": kind, **more})
