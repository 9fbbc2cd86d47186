"""``/v1/realtime``: streams in the events of vLLM's server, for its clients.

    <- {"type": "session.created", "id": ..., "created": ...}
    -> {"type": "session.update", "model": "u2pp"}
    -> {"type": "input_audio_buffer.commit"}
    -> {"type": "input_audio_buffer.append", "audio": base64 of 16-bit PCM, 16 kHz}
    -> {"type": "input_audio_buffer.commit", "final": true}
    <- {"type": "transcription.delta", "delta": ...}
    <- {"type": "transcription.done", "text": ..., "usage": ...}

Without ``session.update`` it is the server's own model, as in vLLM's first clients. An
utterance is a delta when it has ended: what was told is never taken back. Behind
``transcription.done`` another recording may follow.
"""

import base64
import time
from typing import ClassVar
from uuid import uuid4

import numpy as np

from espnet_smoe.inference.streaming.events import Event
from espnet_smoe.serve.dialects import Dialect, as_json
from espnet_smoe.serve.protocol import Incoming, SessionError, read_message

APPEND, COMMIT = "input_audio_buffer.append", "input_audio_buffer.commit"
UPDATE = "session.update"
LONGEST_EVENT = 2**20  # characters: of audio in base64


class RealtimeDialect(Dialect):
    """The events of a session, which may hold several recordings."""

    goes_on: ClassVar[bool] = True

    def __init__(self, model: str | None = None) -> None:
        super().__init__(model)
        self.chosen = model is not None
        self._begin()

    def _begin(self) -> None:
        self._incoming, self._texts = Incoming(), []

    def greeting(self) -> list[str]:
        """That the session has begun."""
        told = {"type": "session.created", "id": f"sess-{uuid4().hex}"}
        return [as_json({**told, "created": int(time.time())})]

    def read(self, frame: str | bytes) -> np.ndarray:
        """Take an event."""
        if isinstance(frame, bytes):
            raise SessionError("a binary frame; audio goes in base64, in text frames")
        message = read_message(frame, LONGEST_EVENT)
        match message.get("type"):
            case "session.update":
                self._update(message)
            case "input_audio_buffer.append":
                self._check_chosen()
                return self._incoming.read(_decoded(message.get("audio")))
            case "input_audio_buffer.commit":
                self.chosen = True  # the server's own model, where none was named
                self.ended = self._final(message)
            case other:
                raise SessionError(
                    f"an event of type {as_json({'type': other})}; known are "
                    f"{UPDATE}, {APPEND}, {COMMIT}"
                )
        return np.zeros(0, np.float32)

    def _update(self, message: dict) -> None:
        session = message.get("session")
        inner = session.get("model") if isinstance(session, dict) else None
        model = message.get("model", inner)
        if model is not None and not isinstance(model, str):
            raise SessionError("the model of session.update is no name")
        if self.chosen and model not in (None, self.model):
            known = f"'{self.model}'" if self.model else "the server's own"
            raise SessionError(f"the model of this session is {known} already")
        self.model, self.chosen = model or self.model, True

    def _final(self, message: dict) -> bool:
        final = message.get("final")
        if final is not None and not isinstance(final, bool):
            raise SessionError(f"final of {COMMIT} is neither true nor false")
        return bool(final)

    def _check_chosen(self) -> None:
        if not self.chosen:
            raise SessionError(f"audio before {UPDATE} or {COMMIT}")

    def event(self, event: Event) -> list[str]:
        """The text of an utterance that has ended."""
        if event.kind != "final" or not event.text:
            return []
        text = f" {event.text}" if self._texts else event.text
        self._texts.append(event.text)
        return [as_json({"type": "transcription.delta", "delta": text})]

    def done(self) -> list[str]:
        """All of the text; another recording may begin."""
        text = " ".join(self._texts)
        self._begin()
        self.ended = False
        return [as_json({"type": "transcription.done", "text": text, "usage": None})]

    def error(self, error: SessionError) -> list[str]:
        """Cause and cure."""
        told = {"type": "error", "error": str(error), "code": str(error.code)}
        return [as_json(told)]


def _decoded(audio: object) -> bytes:
    if not isinstance(audio, str):
        raise SessionError(f"{APPEND} has no 'audio' of text")
    try:
        return base64.b64decode(audio, validate=True)
    except ValueError as error:
        raise SessionError(f"the audio of {APPEND} is no base64: {error}") from error
