"""The pool follows the load, and the cluster's nodes follow the pool, down to none and up again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench import machine
from tests.faults.background import Background
from tests.faults.elastic import Elastic
from tests.faults.stand import REPLICAS, Size, Stand, until

if TYPE_CHECKING:
    from pipeline.kafka.embedded import EmbeddedKafka
    from tests.integration.gates import Gate

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

STEP_S = 120.0
"""How long a step of load would take one replica."""
DRAIN_S, IDLE_S = 10.0, 10.0
MAX_REPLICAS = 4
EVERY_S = 10.0
"""How often a moment is kept in which nothing changed."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What there is, so many seconds after the start."""

    at_s: float
    lag: int
    replicas: int
    nodes: int


class History(Background):
    """Keeps what there is, each time that it changes; a context manager.

    Args:
        cluster: Its nodes, and the actors on them.
        gate: Says how much waits.
    """

    def __init__(self, cluster: Elastic, gate: Gate) -> None:
        super().__init__()
        self._cluster = cluster
        self._gate = gate
        self._began = time.monotonic()
        self.moments: list[Moment] = []

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def peak(self, since_s: float) -> tuple[int, int]:
        """Most replicas and most nodes since a moment."""
        seen = [moment for moment in self.moments if moment.at_s >= since_s]
        return max(moment.replicas for moment in seen), max(moment.nodes for moment in seen)

    def run(self) -> None:
        """Look twice a second."""
        while not self.stopping.wait(0.5):
            now = self._look()
            last = self.moments[-1] if self.moments else None
            changed = last is None or (last.replicas, last.nodes) != (now.replicas, now.nodes)
            if changed or (last is not None and now.at_s - last.at_s >= EVERY_S):
                self.moments.append(now)

    def _look(self) -> Moment:
        # One actor prepares; the others score.
        replicas = max(0, self._cluster.n_actors - 1)
        lag = self._gate.status().get("lag", 0)  # nothing is known before the group is joined
        return Moment(round(self.seconds(), 1), lag, replicas, self._cluster.n_nodes)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Elastic]:
    """A cluster without a node beside its head."""
    with Elastic(tmp_path, max_nodes=MAX_REPLICAS) as elastic:
        yield elastic


def test_the_pool_and_its_nodes_follow_the_load(
    brokers: EmbeddedKafka, cluster: Elastic, tmp_path: Path, size: Size
) -> None:
    stand = Stand(brokers, cluster.address, tmp_path, size)
    with (
        stand.scenario(
            "load in steps: nodes come and go",
            "pool.min_replicas=1",
            f"pool.max_replicas={MAX_REPLICAS}",
            f"claims.drain_s={DRAIN_S}",
            f"gate.idle_after_s={IDLE_S}",
            rounds=2,
            seeds=False,
            per_s=REPLICAS * size.messages / STEP_S,
        ) as scenario,
        scenario.gate() as gate,
        History(cluster, gate) as history,
    ):
        gate.until(lambda: history.moments, "opens its doors")
        idle(history)
        for step in range(2):
            began_s = history.seconds()
            scenario.lab.produce(size.messages, first=step * size.messages)
            scenario.until_all((step + 1) * size.messages)
            assert history.peak(began_s) == (MAX_REPLICAS, MAX_REPLICAS)
            idle(history)
        assert gate.process.poll() is None
    if size.result is not None:
        record(size.result.with_name("pool.json"), history, size)


def idle(history: History) -> None:
    """Wait until there is nothing but the head."""

    def none_left() -> bool:
        latest = history.moments[-1]
        return (latest.replicas, latest.nodes) == (0, 0)

    until(none_left, "replicas and nodes are gone")


def record(path: Path, history: History, size: Size) -> None:
    """Write what there was over time."""
    found = {
        "messages_per_step": size.messages,
        "replica_s_per_step": STEP_S,
        "drain_s": DRAIN_S,
        "idle_after_s": IDLE_S,
        "max_replicas": MAX_REPLICAS,
        "columns": ["at_s", "lag", "replicas", "nodes"],
        "moments": [astuple(moment) for moment in history.moments],
        "machine": {name: machine.described()[name] for name in ("commit", "cpu", "cores")},
    }
    path.write_text(json.dumps(found) + "\n")
