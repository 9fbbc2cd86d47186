"""What a stream tells: words while they are spoken, and sentences when they end."""

from dataclasses import asdict, dataclass
from typing import Literal

DIGITS = 3  # of seconds and confidences in a record


@dataclass(frozen=True)
class TimedToken:
    """A token and where it was said.

    Attributes:
        token: As the model's list of tokens spells it.
        start: Seconds of the stream.
        end: Seconds of the stream.
        confidence: Mean posterior over its frames, 0 to 1.
    """

    token: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Event:
    """A text that a stream has come to.

    Attributes:
        kind: ``partial``: so far, each takes the place of the one before; ``final``:
            the utterance has ended and this takes the place of its partials. It is
            empty where a second look found that nothing was said.
        text: The whole utterance.
        start: Seconds of the stream: where its first token begins; of a partial, the
            first frame that is no blank.
        end: Seconds of the stream: where its last token ends; of a partial, how far
            the stream is decoded.
        tokens: Of a final; a partial has none.

    Example:
        >>> Event("partial", "good", 0.5, 1.28).as_dict()["text"]
        'good'
    """

    kind: Literal["partial", "final"]
    text: str
    start: float
    end: float
    tokens: tuple[TimedToken, ...] = ()

    def as_dict(self) -> dict:
        """A record for JSON, all keys always there, numbers rounded."""
        return {
            **{key: _rounded(value) for key, value in vars(self).items()},
            "tokens": [
                {key: _rounded(value) for key, value in asdict(token).items()}
                for token in self.tokens
            ],
        }


def _rounded(value: object) -> object:
    return round(value, DIGITS) if isinstance(value, float) else value
