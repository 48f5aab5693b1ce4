"""What an online door tells Prometheus. Facts are recorded here where the decision is made, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pipeline.metrics import EffortCounters
from pipeline.serving.values import Scored

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30)
"""Buckets; finest where a caller would notice."""
TOKENS = (64, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)


class ServeMetrics:
    """Every series of one door, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "sluice_online_requests",
            "Requests by path and status; 499 where the caller had gone.",
            ["path", "code"],
            registry=registry,
        )
        self._request_s = Histogram(
            "sluice_online_request_seconds",
            "From a request's first byte to its answer.",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self._verdicts = Counter(
            "sluice_online_verdicts",
            "Pairs with a verdict, by the policy's action.",
            ["action"],
            registry=registry,
        )
        self._rejects = Counter(
            "sluice_online_rejects", "Candidates without a verdict, by reason.", ["reason"], registry=registry
        )
        self._retries = Counter(
            "sluice_online_retries", "Requests tried again because a replica was lost.", registry=registry
        )
        self._waited_s = Histogram(
            "sluice_online_waiting_seconds",
            "Of an answered request: its time less what preparing and scoring it took.",
            buckets=SECONDS,
            registry=registry,
        )
        self._batch_s = Histogram(
            "sluice_online_batch_seconds", "Scoring one batch.", buckets=SECONDS, registry=registry
        )
        self._batch_tokens = Histogram(
            "sluice_online_batch_tokens", "Padded tokens of one batch.", buckets=TOKENS, registry=registry
        )
        self._effort = EffortCounters("sluice_online", registry)

    def exposition(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self._registry)

    def show(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Add a gauge that is asked when it is read."""
        Gauge(f"sluice_online_{name}", description, registry=self._registry).set_function(value)

    def answered(self, path: str, code: int, seconds: float) -> None:
        """Record a request."""
        self._requests.labels(path, str(code)).inc()
        self._request_s.labels(path).observe(seconds)

    def retried(self) -> None:
        """Record that a request is tried again."""
        self._retries.inc()

    def judged(self, *, actions: dict[str, int], reasons: dict[str, int]) -> None:
        """Record what became of the candidates of a request, each counted by action or by reason."""
        for action, n in actions.items():
            self._verdicts.labels(action).inc(n)
        for reason, n in reasons.items():
            self._rejects.labels(reason).inc(n)

    def scored(self, scored: Scored, waited_s: float) -> None:
        """Record how long a request waited, and the batches that it tells of."""
        self._waited_s.observe(waited_s)
        for batch in scored.batches:
            self._batch_s.observe(batch.seconds)
            self._batch_tokens.observe(batch.n_tokens)
            self._effort.add(batch.effort)
