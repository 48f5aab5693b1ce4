"""A gate at half its load for a chosen time, with a random fault each minute: `make soak`.

Samples lag, memory, file descriptors and executions all the while; at the end the account over everything must
close. Writes `bench/results/soak.json` and a plot beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import psutil
from kafka import KafkaProducer
from kafka import errors as kafka_errors

from bench import machine
from pipeline.kafka import topics
from pipeline.kafka.embedded import EmbeddedKafka
from tests.faults.attended import Attended
from tests.faults.background import Background
from tests.faults.nodes import Nodes
from tests.faults.stand import Scenario, Size, Stand
from tests.faults.test_processes import kill, living
from tests.integration.gates import N_PARTITIONS

mpl.use("Agg")
from matplotlib import pyplot as plt

RESULT = Path(__file__).parents[2] / "bench" / "results" / "soak.json"
CAPACITY_PER_S = 400
"""Candidates that the pool can score in a second, set by its pace; half of it is sent."""
LOOK_EVERY_S = 5.0
FAULT_EVERY_S = 60.0
ROTATE_EVERY_S = 300.0
"""Age at which an execution is replaced: many rotations in an hour."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. A process that is not there counts 0."""

    at_s: float
    sent: int
    seen: int
    execution: int
    keeper: int
    """Process id."""
    keeper_mb: float
    keeper_fds: int
    runner_mb: float
    runner_fds: int
    replicas_mb: float

    @property
    def lag(self) -> int:
        """Sent, and without a committed verdict in sight."""
        return self.sent - self.seen


class Load(Background):
    """Sends candidates at an even rate, in a thread, until told to stop; a context manager.

    Args:
        scenario: Whose input is filled.
        bootstrap_servers: The brokers.
        rate: Candidates a second.
    """

    def __init__(self, scenario: Scenario, bootstrap_servers: str, rate: float) -> None:
        super().__init__()
        self._scenario = scenario
        self._bootstrap_servers = bootstrap_servers
        self._rate = rate
        self.sent = 0

    def run(self) -> None:
        """Send one after the other, each at its time."""
        topic = self._scenario.settings.topics.input
        began = time.monotonic()
        with KafkaProducer(bootstrap_servers=self._bootstrap_servers, acks="all", retries=100) as producer:
            for i in itertools.count():
                if self.stopping.wait(max(0.0, began + i / self._rate - time.monotonic())):
                    break
                value = self._scenario.lab.candidate(i, document=f"boot no. {i}")
                # Whatever became of it, the account is over what the topic holds.
                with contextlib.suppress(kafka_errors.KafkaError):
                    producer.send(topic, value, partition=i % N_PARTITIONS).add_callback(self._count)

    def _count(self, _: object) -> None:
        self.sent += 1


def main() -> int:
    """Soak for as long as is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    minutes = parser.parse_args().minutes
    with (
        tempfile.TemporaryDirectory(prefix="sluice-soak-") as folder,
        EmbeddedKafka(n_brokers=3, start_timeout_s=180.0) as brokers,
        Nodes(n_workers=2) as nodes,
    ):
        stand = Stand(brokers, nodes.address, Path(folder), Size(int(CAPACITY_PER_S * 60 * minutes / 2), 1))
        samples, faults = soak(stand, nodes, minutes * 60)
    _record(samples, faults, minutes)
    return 0


def soak(stand: Stand, nodes: Nodes, seconds: float) -> tuple[list[Sample], list[tuple[float, str]]]:
    """The looks that were taken, and when which fault was done."""
    rotate = f"execution.max_age_s={ROTATE_EVERY_S:g}"
    samples: list[Sample] = []
    faults: list[tuple[float, str]] = []
    with (
        stand.scenario("soak", rotate, seeds=False, per_s=CAPACITY_PER_S) as scenario,
        scenario.attended() as gate,
    ):
        scenario_faults = _faults(stand, nodes, gate)
        with Load(scenario, stand.brokers.bootstrap_servers, CAPACITY_PER_S / 2) as load:
            began = time.monotonic()
            for due in itertools.count(1):
                while (now := time.monotonic() - began) < min(due * FAULT_EVERY_S, seconds):
                    samples.append(_look(now, load.sent, scenario, gate))
                    time.sleep(LOOK_EVERY_S)
                if now >= seconds:
                    break
                name, fault = random.choice(scenario_faults)
                print(f"{now:6.0f} s: {name}", file=sys.stderr, flush=True)
                faults.append((now, name))
                fault()
        # More than was acknowledged, where an acknowledgement was lost.
        held = topics.extents(scenario.settings.kafka, scenario.settings.topics.input)
        scenario.until_all(sum(one.high_watermark for one in held.values()))
    return samples, faults


def _faults(stand: Stand, nodes: Nodes, gate: Attended) -> Sequence[tuple[str, Callable[[], object]]]:
    def bounce() -> None:
        broker = random.randrange(3)
        stand.brokers.kill(broker)
        stand.brokers.restart(broker)

    def replica() -> None:
        for pid in living(gate.replicas)[:1]:
            kill(pid)

    return [
        ("keeper killed", lambda: kill(gate.keeper)),
        ("runner killed", lambda: kill(gate.runner)),
        ("replica killed", replica),
        ("worker node killed", nodes.replace_worker),
        ("broker bounced", bounce),
    ]


def _look(now: float, sent: int, scenario: Scenario, gate: Attended) -> Sample:
    status = gate.status() or {}
    keeper, runner = gate.keeper, status.get("runner") or 0
    replicas = [int(name.rpartition(":")[2]) for name in status.get("replicas", ())]
    return Sample(
        round(now, 1),
        sent,
        scenario.watch.n_seen,
        status.get("execution", 0),
        keeper,
        _mb(keeper),
        _fds(keeper),
        _mb(runner),
        _fds(runner),
        round(sum(_mb(pid) for pid in replicas), 1),
    )


def _mb(pid: int) -> float:
    try:
        return round(psutil.Process(pid).memory_info().rss / 1e6, 1) if pid else 0.0
    except psutil.NoSuchProcess:
        return 0.0


def _fds(pid: int) -> int:
    try:
        return int(psutil.Process(pid).num_fds()) if pid else 0
    except psutil.NoSuchProcess:
        return 0


def _lives(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """The looks at one keeper after the other."""
    for _, of_one in itertools.groupby(samples, key=lambda one: one.keeper):
        yield list(of_one)


def growth_mb_per_hour(samples: Sequence[Sample]) -> float | None:
    """How the longest-lived keeper's memory grew, by a line through its looks from a fifth of them on."""
    life = max(_lives(samples), key=len)
    life = life[len(life) // 5 :]
    if len(life) < 10:
        return None
    hours = np.array([one.at_s for one in life]) / 3600
    return round(float(np.polyfit(hours, [one.keeper_mb for one in life], 1)[0]), 1)


def _record(samples: Sequence[Sample], faults: Sequence[tuple[float, str]], minutes: float) -> None:
    found = {
        "minutes": minutes,
        "candidates": samples[-1].sent,
        "faults": faults,
        "executions": sum(max(one.execution for one in life) for life in _lives(samples)),
        "max_lag": max(one.lag for one in samples),
        "keeper_growth_mb_per_hour": growth_mb_per_hour(samples),
        "machine": machine.described(),
        "samples": [asdict(one) for one in samples],
    }
    RESULT.write_text(json.dumps(found) + "\n")
    _plot(samples, faults, RESULT.with_suffix(".png"))


def _plot(samples: Sequence[Sample], faults: Sequence[tuple[float, str]], path: Path) -> None:
    figure, (lag, memory, files) = plt.subplots(3, sharex=True, figsize=(9, 8), layout="constrained")
    minutes = [one.at_s / 60 for one in samples]
    lag.plot(minutes, [one.lag for one in samples])
    lag.set_ylabel("lag, candidates")
    for name in ("keeper_mb", "runner_mb", "replicas_mb"):
        memory.plot(minutes, [getattr(one, name) for one in samples], label=name.removesuffix("_mb"))
    memory.set_ylabel("memory, MB")
    memory.legend()
    for name in ("keeper_fds", "runner_fds"):
        files.plot(minutes, [getattr(one, name) for one in samples], label=name.removesuffix("_fds"))
    files.set_ylabel("file descriptors")
    files.set_xlabel("minutes; a line for each fault")
    files.legend()
    for axis, (at_s, _) in itertools.product((lag, memory, files), faults):
        axis.axvline(at_s / 60, color="grey", linewidth=0.5)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
