"""A gate at half its load for a chosen time, with a random fault each minute: `make soak`.

Looks at lag, memory, file descriptors and executions all the while; at the end the account over everything must
close, and the memory of keeper and runner be what it was. Writes `bench/results/soak.json` and a plot beside it.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from kafka import KafkaProducer
from kafka import errors as kafka_errors

from bench import machine
from pipeline.kafka import topics
from pipeline.kafka.embedded import EmbeddedKafka
from tests.faults.attended import Attended
from tests.faults.background import Background
from tests.faults.looks import KINDS, Looks, Sample, growth_mb, is_flat
from tests.faults.nodes import Nodes
from tests.faults.stand import Scenario, Size, Stand
from tests.faults.test_processes import actors, kill, living
from tests.integration.gates import N_PARTITIONS

mpl.use("Agg")
from matplotlib import pyplot as plt

RESULT = Path(__file__).parents[2] / "bench" / "results" / "soak.json"
CAPACITY_PER_S = 400
"""Candidates that the pool can score in a second, set by its pace; half of it is sent."""
FAULT_EVERY_S = 60.0
ROTATE_EVERY_S = 60.0
"""Age at which an execution is replaced: several within the life of a keeper."""
LIVED_S = 0.75 * ROTATE_EVERY_S
"""An execution that was not cut short by a fault: memory is judged by those."""

Fault = tuple[str, Callable[[], object]]
Done = tuple[float, str]
"""When, in seconds, and what."""


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
        n = int(CAPACITY_PER_S * 60 * minutes / 2)
        stand = Stand(brokers, nodes.address, Path(folder), Size(n, 1, RESULT.with_name("faults.json")))
        samples, faults = soak(stand, nodes, minutes * 60)
        logs = [log.read_text(errors="replace") for log in Path(folder).rglob("gate-*.log")]
    found = judged(samples)
    n_rotations = sum(log.count(": ends, aged ") for log in logs)
    how = {"command": f"make soak MINUTES={minutes:g}", "minutes": minutes, "rotations": n_rotations}
    _record(samples, faults, {**how, **found})
    return 1 if False in found.values() else 0


def soak(stand: Stand, nodes: Nodes, seconds: float) -> tuple[list[Sample], list[Done]]:
    """The looks that were taken, and when which fault was done."""
    rotate = f"execution.max_age_s={ROTATE_EVERY_S:g}"
    done: list[Done] = []
    with (
        stand.scenario("soak", rotate, rounds=1, seeds=False, per_s=CAPACITY_PER_S) as scenario,
        scenario.attended() as gate,
    ):
        load = Load(scenario, stand.brokers.bootstrap_servers, CAPACITY_PER_S / 2)
        with Looks(gate, scenario.watch, lambda: load.sent) as looks:
            with load:
                began = time.monotonic()
                for due, (name, fault) in enumerate(_in_turns(_faults(stand, nodes, gate)), 1):
                    time.sleep(max(0.0, began + min(due * FAULT_EVERY_S, seconds) - time.monotonic()))
                    if due * FAULT_EVERY_S >= seconds:
                        break
                    now = round(time.monotonic() - began, 1)
                    print(f"{now:6.0f} s: {name}", file=sys.stderr, flush=True)
                    done.append((now, name))
                    fault()
            # More than was acknowledged, where an acknowledgement was lost.
            held = topics.extents(scenario.settings.kafka, scenario.settings.topics.input)
            scenario.until_all(sum(one.high_watermark for one in held.values()))
    return looks.samples, done


def judged(samples: Sequence[Sample]) -> dict[str, float | bool | None]:
    """Whether the memory of keeper and runner stayed where it was, execution after execution."""
    return {
        f"{kind}_{name}": judge(samples, kind, LIVED_S)
        for kind in ("keeper", "runner")
        for name, judge in (("mb_per_rotation", growth_mb), ("is_flat", is_flat))
    }


def _in_turns(faults: Sequence[Fault]) -> Iterator[Fault]:
    """All of them, in an order drawn anew each time, without an end."""
    while True:
        yield from random.sample(faults, len(faults))


def _faults(stand: Stand, nodes: Nodes, gate: Attended) -> Sequence[Fault]:
    def bounce() -> None:
        broker = random.randrange(3)
        stand.brokers.kill(broker)
        stand.brokers.restart(broker)

    def replica() -> None:
        for pid in living(gate.replicas)[:1]:
            kill(pid)

    def prepare() -> None:
        for pid in sorted(actors() - {*gate.replicas})[:1]:
            kill(pid)

    return [
        ("keeper killed", lambda: kill(gate.keeper)),
        ("runner killed", lambda: kill(gate.runner)),
        ("replica killed", replica),
        ("Prepare actor killed", prepare),
        ("worker node killed", nodes.replace_worker),
        ("broker bounced", bounce),
    ]


def _record(samples: Sequence[Sample], faults: Sequence[Done], found: Mapping[str, Any]) -> None:
    result = {
        **found,
        "candidates": samples[-1].sent,
        "max_lag": max(one.lag for one in samples),
        "faults": faults,
        "machine": {name: machine.described()[name] for name in ("commit", "cpu", "cores")},
        "by_minute": _by_minute(samples),
    }
    RESULT.write_text(json.dumps(result) + "\n")
    _plot(samples, faults, RESULT.with_suffix(".png"))


def _by_minute(samples: Sequence[Sample]) -> dict[str, Any]:
    """The most of each within each minute, as columns: the plot has every look, the result stays small."""
    minutes = [list(looks) for _, looks in itertools.groupby(samples, key=lambda one: int(one.at_s // 60))]
    return {
        "lag": [max(one.lag for one in looks) for looks in minutes],
        "executions": [
            len({(one.keeper, one.execution) for one in looks if one.execution}) for looks in minutes
        ],
        "memory_mb": {
            kind: [round(max(one.memory_mb[kind] for one in looks)) for looks in minutes] for kind in KINDS
        },
        "files": {
            kind: [max(one.files[kind] for one in looks) for looks in minutes]
            for kind in ("keeper", "runner")
        },
    }


def _plot(samples: Sequence[Sample], faults: Sequence[Done], path: Path) -> None:
    figure, (lag, memory, files) = plt.subplots(3, sharex=True, figsize=(9, 8), layout="constrained")
    minutes = [one.at_s / 60 for one in samples]
    lag.plot(minutes, [one.lag for one in samples])
    lag.set_ylabel("lag, candidates")
    for kind in KINDS:
        memory.plot(minutes, [one.memory_mb[kind] for one in samples], label=kind)
    memory.set_ylabel("memory, MB")
    memory.set_yscale("log")
    memory.legend(ncols=len(KINDS))
    for kind in ("keeper", "runner"):
        files.plot(minutes, [one.files[kind] for one in samples], label=kind)
    files.set_ylabel("file descriptors")
    files.set_xlabel("minutes; a line for each fault")
    files.legend()
    for axis, (at_s, _) in itertools.product((lag, memory, files), faults):
        axis.axvline(at_s / 60, color="grey", linewidth=0.5)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
