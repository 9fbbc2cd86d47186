"""How a client and the server speak on a websocket: frames in, frames out.

`OwnDialect` is the server's own, see `protocol`; the others are those of other servers,
for their clients. A `Session` speaks any of them.
"""

import json
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from espnet_smoe.inference.streaming.events import Event
from espnet_smoe.serve.protocol import Incoming, SessionError


class Dialect(ABC):
    """One conversation.

    Attributes:
        ended: The client has said that no more audio follows.
        chosen: The model is known, or the default will do: its stream may be opened.
        model: Its name; None for the default.
        goes_on: After the last event the client may send another recording.
    """

    goes_on: ClassVar[bool] = False

    def __init__(self, model: str | None = None) -> None:
        self.ended = False
        self.chosen = True
        self.model = model

    def greeting(self) -> list[str]:
        """What to send before the client has sent anything."""
        return []

    @abstractmethod
    def read(self, frame: str | bytes) -> np.ndarray:
        """Take the next frame.

        Args:
            frame: Text, or bytes.

        Returns:
            ``(samples,)`` float32 at 16 kHz within [-1, 1], empty for most texts.

        Raises:
            SessionError: The frame is none of those that may come now.
        """

    def answers(self) -> list[str]:
        """What to send because of the frame that was read last."""
        return []

    @abstractmethod
    def event(self, event: Event) -> list[str]:
        """What to send of an event."""

    @abstractmethod
    def done(self) -> list[str]:
        """What to send when all has been said."""

    def error(self, error: SessionError) -> list[str]:
        """What to send before the session is closed for an error."""
        return []


class OwnDialect(Dialect):
    """The server's own protocol, see `protocol`."""

    def __init__(self, model: str | None = None) -> None:
        super().__init__(model)
        self._incoming = Incoming()

    def read(self, frame: str | bytes) -> np.ndarray:
        """Take the next frame."""
        samples = self._incoming.read(frame)
        self.ended = self._incoming.ended
        return samples

    def event(self, event: Event) -> list[str]:
        """An event as it is."""
        return [as_json({"type": "event", **event.as_dict()})]

    def done(self) -> list[str]:
        """That all has been said."""
        return [as_json({"type": "done"})]

    def error(self, error: SessionError) -> list[str]:
        """Cause and cure."""
        return [as_json({"type": "error", "message": str(error)})]


def as_json(message: dict) -> str:
    """A text frame."""
    return json.dumps(message, ensure_ascii=False)
