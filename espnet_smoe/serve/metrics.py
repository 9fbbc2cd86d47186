"""What ``GET /metrics`` tells, in the words of Prometheus."""

from collections import Counter as Counts
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from espnet_smoe.serve.expert_loads import ExpertLoads

PREFIX = "espnet_smoe_"
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
STREAMS, RECORDINGS = "streams", "recordings"


class Metrics:
    """Counts what a server does."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._open = self._gauge("open", "Sessions and requests under way", "kind")
        self._refused = self._counter("refused", "Those not let in", "kind")
        self._answers = self._counter(
            "answers", "Answers to requests", "path", "status"
        )
        self._latency = self._histogram(
            "request_seconds",
            "From a request to the end of its answer",
            SECONDS,
            "path",
        )
        labels = "model", "kind"
        self._batches = self._histogram(
            "batch_size", "Decoded together", SIZES, *labels
        )
        self._audio = self._counter("audio_seconds", "Audio decoded", *labels)
        self._work = self._counter("compute_seconds", "Time it took", *labels)
        self._factor = self._gauge("real_time_factor", "Of both, so far", *labels)
        self._queue = self._gauge(
            "wait_seconds", "Until what waits is decoded", "model"
        )
        self._lag = self._gauge("lag_seconds", "That streams are late", "model")
        self._rows = self._gauge(
            "expert_rows", "Frames or tokens of an expert", "model", "layer", "expert"
        )
        self._experts: dict[str, "ExpertLoads"] = {}
        self._totals: dict[tuple[str, str], list[float]] = {}

    def refused(self, kind: str) -> None:
        """Count one that was not let in."""
        self._refused.labels(kind).inc()

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._answers.labels(path, str(status)).inc()
        self._latency.labels(path).observe(seconds)

    def watch_places(self, there: Counts[str]) -> None:
        """Tell how many are there, by kind."""
        for kind in ("sessions", "requests"):
            self._open.labels(kind).set_function(lambda kind=kind: there[kind])

    def batch(
        self, model: str, kind: str, size: int, audio: float, work: float
    ) -> None:
        """Count a batch: pieces or streams, seconds of audio, seconds of work."""
        self._batches.labels(model, kind).observe(size)
        self._audio.labels(model, kind).inc(audio)
        self._work.labels(model, kind).inc(work)
        totals = self._totals.setdefault((model, kind), [0.0, 0.0])
        totals[0], totals[1] = totals[0] + audio, totals[1] + work
        self._factor.labels(model, kind).set(totals[1] / max(totals[0], 1e-9))

    def watch(
        self,
        model: str,
        network: Any,
        wait: Callable[[], float],
        lag: Callable[[], float] | None,
    ) -> None:
        """Tell of a model, too.

        Args:
            model: Its name.
            network: Whose experts to count.
            wait: Tells seconds until its recordings are decoded.
            lag: Tells seconds that its streams are late.
        """
        self._queue.labels(model).set_function(wait)
        if lag is not None:
            self._lag.labels(model).set_function(lag)
        if hasattr(network, "named_modules"):
            # torch takes its time, and is there with such a model only
            from espnet_smoe.serve.expert_loads import ExpertLoads

            self._experts[model] = ExpertLoads(network)

    def page(self) -> tuple[bytes, str]:
        """The text, and its type."""
        for model, experts in self._experts.items():
            for layer, loads in experts.loads().items():
                for number, rows in enumerate(loads):
                    self._rows.labels(model, layer, str(number)).set(rows)
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def _gauge(self, name: str, told: str, *labels: str) -> Gauge:
        return Gauge(PREFIX + name, told, labels, registry=self.registry)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, told, labels, registry=self.registry)

    def _histogram(
        self, name: str, told: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            PREFIX + name, told, labels, buckets=buckets, registry=self.registry
        )
