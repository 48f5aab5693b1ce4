"""What the gate tells Prometheus. Facts are recorded here where the decision is made, and nowhere else.

One `Metrics` per gate, with a registry of its own. Names follow Prometheus' conventions: base units, `_total`
for counters. The keeper's thread writes, the doors' threads read; prometheus-client locks each value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pipeline.records import Completed, Effort, Mode, TopicPartition

LATENCY_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 300)
"""Seconds; finest around what is promised at a trickle."""


class Ends(Protocol):
    """Where a partition ends."""

    @property
    def last_stable(self) -> int:
        """End of what a read_committed reader may see."""

    @property
    def high_watermark(self) -> int:
        """End of what is replicated."""


class EffortCounters:
    """What scoring took, of one door.

    Args:
        prefix: How the names begin.
        registry: Where they are told.
    """

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._counters = [
            Counter(f"{prefix}_{name}", description, registry=registry)
            for name, description in (
                ("scored_pairs", "Pairs that replicas scored."),
                ("repeated_pairs", "Of these, pairs that were not encoded: the same one had been."),
                ("tokens", "Tokens of the encoded pairs."),
                ("padded_tokens", "The same with their padding."),
                ("budget_halvings", "How often a device had no room for the token budget."),
            )
        ]

    def add(self, effort: Effort) -> None:
        """Record what some pairs took."""
        for counter, n in zip(self._counters, effort, strict=True):
            counter.inc(n)


class Metrics:
    """Every series of one gate.

    Args:
        clock: `time.monotonic`, or a test's.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._registry = registry = CollectorRegistry()
        partition = ["topic", "partition"]
        self._lag = Gauge(
            "sluice_lag_offsets",
            "Offsets between the committed position and the high watermark.",
            partition,
            registry=registry,
        )
        self._lag_stable = Gauge(
            "sluice_lag_stable_offsets",
            "Offsets between the committed position and the last stable offset.",
            partition,
            registry=registry,
        )
        self._lagging: frozenset[tuple[str, str]] = frozenset()  # the labels of these two
        self._drain = Gauge(
            "sluice_drain_seconds",
            "How long the lag takes at the present rate; +Inf while none of it is committed.",
            registry=registry,
        )
        self._in_flight = Gauge(
            "sluice_in_flight_claims", "Claims handed out and not yet committed.", registry=registry
        )
        self._verdicts = Counter(
            "sluice_verdicts", "Verdicts by the policy's action.", ["action"], registry=registry
        )
        self._rejects = Counter(
            "sluice_rejects", "Rejected rows and messages.", ["reason"], registry=registry
        )
        self._records = Counter("sluice_records", "Messages read and settled.", registry=registry)
        self._lost = Counter(
            "sluice_lost_offsets", "Offsets that retention deleted unread.", registry=registry
        )
        self._dropped = Counter(
            "sluice_dropped_claims", "Results of an earlier assignment, dropped.", registry=registry
        )
        self._prune_share = Gauge(
            "sluice_prune_share", "Share of the brake's window that would be pruned.", registry=registry
        )
        self._mode = Gauge(
            "sluice_mode", "How far the model may act: 1 for the current mode.", ["mode"], registry=registry
        )
        self._stage = Histogram(
            "sluice_stage_seconds",
            "Time that one claim took in a stage.",
            ["stage"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._latency = Histogram(
            "sluice_latency_seconds",
            "From the oldest record's timestamp to its committed verdict.",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._effort = EffortCounters("sluice", registry)
        self._commits = Counter("sluice_commits", "Transactions committed.", registry=registry)
        self._sessions = Counter(
            "sluice_sessions", "Sessions built: member, producer, positions.", registry=registry
        )
        self._assignment = Gauge("sluice_assignment", "Number of the current assignment.", registry=registry)
        self._assignment_started = Gauge(
            "sluice_assignment_start_time_seconds", "When the assignment began.", registry=registry
        )
        self._partitions = Gauge("sluice_partitions", "Partitions assigned to this gate.", registry=registry)
        self._execution = Gauge("sluice_execution", "Number of the current execution.", registry=registry)
        self._execution_started = Gauge(
            "sluice_execution_start_time_seconds", "When the execution began.", registry=registry
        )
        self._rotation = Histogram(
            "sluice_rotation_pause_seconds",
            "From the end of one execution to the first answer of the next.",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._executions_ended = Counter(
            "sluice_executions_ended", "Executions that ended.", ["outcome"], registry=registry
        )
        self._seen: Mapping[str, float] = {}  # when each replica last answered; replaced, never changed
        Gauge(
            "sluice_replicas", "Replicas that gave back a claim within the last minute.", registry=registry
        ).set_function(lambda: len(self.replicas))  # a gate that is idle has no other moment to count at

    @property
    def replicas(self) -> list[str]:
        """Replicas that gave back a claim within the last minute, as `host:process`. From any thread."""
        now = self._clock()
        return sorted(replica for replica, at in self._seen.items() if now - at < 60)

    def exposition(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self._registry)

    def set_lag(self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, Ends]) -> None:
        """Record how far each owned partition is behind; forget those that are no longer owned."""
        labels = {source: (source.topic, str(source.partition)) for source in positions if source in ends}
        for gone in self._lagging.difference(labels.values()):
            self._lag.remove(*gone)
            self._lag_stable.remove(*gone)
        self._lagging = frozenset(labels.values())
        # Set, and not made anew: who reads in the middle must not find a part of them.
        for source, label in labels.items():
            self._lag.labels(*label).set(max(0, ends[source].high_watermark - positions[source]))
            self._lag_stable.labels(*label).set(max(0, ends[source].last_stable - positions[source]))

    def set_drain(self, seconds: float) -> None:
        """Record how long the lag takes at the present rate."""
        self._drain.set(seconds)

    def set_in_flight(self, n_claims: int) -> None:
        """Record how many claims are handed out and not committed."""
        self._in_flight.set(n_claims)

    def set_mode(self, mode: Mode, prune_share: float | None) -> None:
        """Record how far the model may act, and the brake's window."""
        for one in Mode:
            self._mode.labels(one.value).set(one is mode)
        self._prune_share.set(prune_share or 0.0)

    def began_session(self) -> None:
        """Record a session that was built."""
        self._sessions.inc()

    def began_assignment(self, number: int, n_partitions: int) -> None:
        """Record a new assignment."""
        self._assignment.set(number)
        self._assignment_started.set_to_current_time()
        self._partitions.set(n_partitions)

    def began_execution(self, number: int) -> None:
        """Record a new execution."""
        self._execution.set(number)
        self._execution_started.set_to_current_time()

    def ended_execution(self, outcome: str) -> None:
        """Record how an execution ended."""
        self._executions_ended.labels(outcome).inc()
        self._seen = {}

    def paused(self, seconds: float) -> None:
        """Record the pause between two executions."""
        self._rotation.observe(seconds)

    def came_back(self, completed: Completed) -> None:
        """Record what a claim took in each stage, and which replica answered."""
        self._stage.labels("prepare").observe(completed.prepare_s)
        self._stage.labels("score").observe(completed.score_s)
        self._effort.add(completed.effort)
        now = self._clock()
        recent = {replica: at for replica, at in self._seen.items() if now - at < 60}
        self._seen = {**recent, completed.replica: now}

    def dropped(self) -> None:
        """Record a result that came too late for its assignment."""
        self._dropped.inc()

    def committed(self, batch: Iterable[Completed], seconds: float) -> None:
        """Record one transaction.

        Args:
            batch: What it held.
            seconds: What it took.
        """
        self._commits.inc()
        self._stage.labels("publish").observe(seconds)
        now_ms = time.time() * 1000
        for completed in batch:
            counts = completed.counts
            self._records.inc(counts.records)
            self._lost.inc(completed.lost)
            for action, n in (("prune", counts.prune), ("review", counts.review), ("pass", counts.pass_)):
                self._verdicts.labels(action).inc(n)
            for reason, n in completed.reasons.items():
                self._rejects.labels(reason.value).inc(n)
            if completed.oldest_ms is not None:
                self._latency.observe(max(0.0, (now_ms - completed.oldest_ms) / 1000))
