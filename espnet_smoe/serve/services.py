"""The models of a server at work: who may use them, and how many at a time."""

import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from espnet_smoe.serve.access import Access
from espnet_smoe.serve.admission import SESSION, Admission
from espnet_smoe.serve.batcher import Batcher, Feed
from espnet_smoe.serve.errors import RequestError
from espnet_smoe.serve.limits import Limits
from espnet_smoe.serve.metrics import RECORDINGS, STREAMS, Metrics
from espnet_smoe.serve.models import Model, find_model
from espnet_smoe.serve.protocol import FULL, STOPS, UNKNOWN, SessionError
from espnet_smoe.serve.recordings import Recordings


class Service:
    """A model at work.

    Args:
        model: The model.
        limits: What to bear.
        metrics: To count in.
        clock: Tells seconds.

    Attributes:
        recordings: Decodes recordings.
        batcher: Steps streams; None where the model takes none.
    """

    def __init__(
        self, model: Model, limits: Limits, metrics: Metrics, clock: Callable[[], float]
    ):
        self.model = model
        count = partial(metrics.batch, model.name)
        counted = partial(count, RECORDINGS)
        self.recordings = Recordings(model.recordings, limits, counted)
        self.batcher: Batcher | None = None
        if model.streams is not None:
            counted = partial(count, STREAMS)
            self.batcher = Batcher(
                model.streams, limits.lag, clock, counted, model.round_costs
            )
        batcher = self.batcher
        metrics.watch(
            model.name,
            getattr(model.recordings, "model", None),
            lambda: self.recordings.wait,
            (lambda: batcher.lag) if batcher else None,
        )


class Services:
    """The models of a server at work, and who is let in to them.

    Args:
        models: At least one; the first is used where a client names none.
        limits: What to bear.
        access: Who may come; by default whoever is no web page.
        clock: Tells seconds, by which the server measures how late it is.

    Attributes:
        folder: For uploads, while the server runs.
    """

    def __init__(
        self,
        models: Sequence[Model],
        limits: Limits = Limits(),
        access: Access | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.models, self.limits = list(models), limits
        self.access = access or Access()
        self.metrics = Metrics()
        self.admission = Admission(limits, self.metrics.refused)
        self.metrics.watch_places(self.admission.there)
        self.folder = ""
        self._services = {
            model.name: Service(model, limits, self.metrics, clock) for model in models
        }

    def service(self, model: Model) -> Service:
        """A model at work."""
        return self._services[model.name]

    @property
    def feeds(self) -> list[Feed]:
        """The streams that are open."""
        batchers = (service.batcher for service in self._services.values())
        return [feed for batcher in batchers if batcher for feed in batcher.feeds]

    @contextmanager
    def feed(self, client: str, name: str | None) -> Iterator[Feed]:
        """A new stream, forgotten at the end of the block.

        Args:
            client: Whose it is.
            name: Of the model; None for the first one that takes streams.

        Raises:
            SessionError: There is no such model, or no place.
        """
        batcher = self._batcher(name)
        try:
            with self.admission.place(SESSION, client):
                if behind := batcher.behind:
                    raise _full(f"the server is {behind:.1f} s behind")
                if batcher.full:
                    running = len(batcher.feeds)
                    raise _full(f"the model serves no more than {running} sessions")
                with batcher.open(self.limits.backlog) as feed:
                    yield feed
        except RequestError as error:
            raise SessionError(str(error), FULL) from error

    def _batcher(self, name: str | None) -> Batcher:
        streaming = [model for model in self.models if model.streams is not None]
        try:
            model = find_model(
                self.models if name or not streaming else streaming, name
            )
        except KeyError as error:
            raise SessionError(error.args[0], UNKNOWN) from error
        batcher = self.service(model).batcher
        if batcher is None:
            raise SessionError(
                f"{model.name} takes no streams: {model.no_streams}", UNKNOWN
            )
        return batcher

    def works(self) -> Iterator[Coroutine[None, None, None]]:
        """What has to run while anybody is served; none of it ends by itself."""
        for service in self._services.values():
            yield service.recordings.run()
            if service.batcher is not None:
                yield service.batcher.run()

    def end(self) -> None:
        """Let nobody in; streams get their last texts."""
        self.admission.stopping = True
        for feed in self.feeds:
            feed.end(SessionError("the server stops; come back later", STOPS))


def _full(reason: str) -> SessionError:
    return SessionError(f"{reason}; try again later", FULL)
