"""Who is let in: as many as the server bears, whatever they want."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from espnet_smoe.serve.errors import RequestError
from espnet_smoe.serve.limits import Limits

SESSION, REQUEST = "sessions", "requests"
RETRY_SECONDS = 5.0
MEMORY = Path("/proc/self/statm")


class Admission:
    """Counts who is there.

    Args:
        limits: What to bear.
        refused: Told of each that is not let in: what it wanted.

    Attributes:
        stopping: Nobody else is let in.
        there: How many, of `SESSION` and `REQUEST`.
    """

    def __init__(
        self, limits: Limits, refused: Callable[[str], None] = lambda kind: None
    ):
        self.limits, self._refused = limits, refused
        self.stopping = False
        self.there = Counter[str]()
        self._clients = Counter[str]()

    @contextmanager
    def place(self, kind: str, client: str) -> Iterator[None]:
        """A place for a session or a request, given back at the end of the block.

        Args:
            kind: `SESSION` or `REQUEST`.
            client: Who wants it.

        Raises:
            RequestError: There is none.
        """
        if error := self._fault(kind, client):
            self._refused(kind)
            raise error
        self.there[kind] += 1
        self._clients[client] += 1
        try:
            yield
        finally:
            self.there[kind] -= 1
            self._clients[client] -= 1
            self._clients += Counter()  # forgets those that are at 0

    def check_wait(self, wait: float) -> None:
        """Refuse a request that would have to wait for so many seconds.

        Raises:
            RequestError: It is too long.
        """
        if wait > self.limits.wait:
            self._refused(REQUEST)
            raise _busy(f"{wait:.0f} s of work wait", wait - self.limits.wait)

    def _fault(self, kind: str, client: str) -> RequestError | None:
        limits = self.limits
        most = getattr(limits, kind)
        if self.stopping:
            return _busy("the server stops")
        if self._clients[client] >= limits.per_client:
            return RequestError(
                f"{self._clients[client]} of this client are under way; wait for one",
                429,
                code="rate_limit_exceeded",
                retry=RETRY_SECONDS,
            )
        if self.there[kind] >= most:
            return _busy(f"all {most} {kind} are taken")
        if (used := memory()) > limits.memory:
            return _busy(f"the server uses {used:.1f} GB of memory")
        return None


def memory() -> float:
    """GB that this process takes; 0 where nobody tells."""
    try:
        pages = int(MEMORY.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def _busy(reason: str, retry: float = RETRY_SECONDS) -> RequestError:
    message = f"{reason}; try again later"
    return RequestError(message, 503, code="server_busy", retry=retry)
