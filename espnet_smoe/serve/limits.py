"""What one server bears, of all its clients and of each."""

import math
from dataclasses import dataclass, fields

from espnet_smoe.data.speech.audio import SAMPLE_RATE


@dataclass(frozen=True)
class Limits:
    """What one server bears.

    Attributes:
        sessions: Streams at the same time.
        requests: Recordings at the same time, those that are being sent among them.
        per_client: Streams and recordings of one client at the same time: of one token,
            or without tokens of one address; infinite: no limit.
        seconds: Of audio a session or a recording; infinite: no limit.
        upload: Bytes of a request.
        wait: Seconds that the recordings before a new one may take; else it is refused.
        backlog: Seconds of audio of a session that may wait for the model; infinite:
            no limit.
        duration: Seconds that a session, or the sending of a recording, may last;
            infinite: no limit.
        idle: Seconds that a client may send no audio, or not read what it is sent.
        frames: A second that are read of a client, pings included.
        bytes: A second that are read of the client of a session.
        lag: Seconds that the model may be late and sessions still be let in; at twice
            as much sessions are ended. Infinite: never.
        memory: GB that the process may take and still let anybody in; infinite: no
            limit.
        grace: Seconds that sessions and requests have to finish in when the server
            stops.

    Raises:
        ValueError: One is not above 0, or the audio less than one sample.
    """

    sessions: int = 100
    requests: int = 32
    per_client: float = math.inf
    seconds: float = 3600.0
    upload: float = 512e6
    wait: float = 30.0
    backlog: float = 5.0
    duration: float = 7200.0
    idle: float = 60.0
    frames: float = 1000.0
    bytes: float = 4e6
    lag: float = 1.0
    memory: float = math.inf
    grace: float = 10.0

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if not value > 0:
                raise ValueError(f"{flag_of(limit.name)} must be above 0, got {value}")
        for name in ("seconds", "backlog"):
            if getattr(self, name) * SAMPLE_RATE < 1:
                raise ValueError(
                    f"--max-{name} {getattr(self, name):g} is less than one sample; it "
                    f"is in seconds: leave it out for {getattr(Limits, name):g}"
                )


def flag_of(name: str) -> str:
    """The option of a limit.

    Example:
        >>> flag_of("per_client")
        '--max-per-client'
    """
    return f"--max-{name.replace('_', '-')}"
