"""What a gate and all around it take, look after look: lag, memory of every process, file descriptors, executions.

And the judgement of it: whether the memory of keeper and runner stays where it is, execution after execution.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import psutil

from tests.faults.attended import Attended
from tests.faults.background import Background
from tests.faults.nodes import name_of
from tests.faults.watch import Watch

LOOK_EVERY_S = 5.0
KINDS = ("keeper", "runner", "replicas", "prepare", "brokers", "ray")
"""Whose memory is told apart; `ray` is all the rest, which is what Ray runs beside our actors."""
FLAT_SHARE = 0.01
"""Of a process' memory: less than so much more with each execution is what looks differ by anyhow."""
FEWEST = 4
"""Executions by which memory can be judged."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. What is not there counts 0."""

    at_s: float
    sent: int
    seen: int
    keeper: int
    """Process id."""
    execution: int
    """Its number, counted by its keeper."""
    memory_mb: Mapping[str, float]
    """By kind of process, see `KINDS`."""
    files: Mapping[str, int]
    """Open file descriptors of keeper and runner."""

    @property
    def lag(self) -> int:
        """Sent, and without a committed verdict in sight."""
        return self.sent - self.seen


class Looks(Background):
    """Looks again and again, in a thread; a context manager.

    Args:
        gate: With all that it started, below this process, as brokers and nodes are.
        watch: Knows how many verdicts are in sight.
        sent: How many candidates were sent so far.
    """

    def __init__(self, gate: Attended, watch: Watch, sent: Callable[[], int]) -> None:
        super().__init__()
        self._gate = gate
        self._watch = watch
        self._sent = sent
        self._began = time.monotonic()
        self.samples: list[Sample] = []

    def run(self) -> None:
        """Look until told to stop."""
        while not self.stopping.wait(LOOK_EVERY_S):
            self.samples.append(self._look())

    def _look(self) -> Sample:
        status = self._gate.status() or {}
        keeper, runner = self._gate.keeper, status.get("runner") or 0
        replicas = {int(name.rpartition(":")[2]) for name in status.get("replicas", ())}
        memory: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                memory[_kind(process, keeper, runner, replicas)] += process.memory_info().rss
        return Sample(
            round(time.monotonic() - self._began, 1),
            self._sent(),
            self._watch.n_seen,
            keeper,
            status.get("execution", 0),
            {kind: round(size / 1e6, 1) for kind, size in memory.items()},
            {"keeper": _files(keeper), "runner": _files(runner)},
        )


def growth_mb(samples: Sequence[Sample], kind: str, lived_s: float) -> float | None:
    """How much more memory each execution took than the one before it: the slope of a line through their peaks.

    The line of a keeper has one slope and, for each of its lives, a height of its own (least squares with fixed
    effects): only what grows within a life is growth.

    Args:
        samples: In order.
        kind: `keeper`, judged life by life, or `runner`, of which each execution has one of its own.
        lived_s: Counts are the executions that lived so long, each up to then: all at one age.

    Returns:
        MB for each execution; None where fewer than `FEWEST` lived so long and have one to be compared with.
    """
    answered = [one for one in samples if one.execution]
    lives = [list(life) for _, life in itertools.groupby(answered, key=lambda one: one.keeper)]
    peaks = [list(_peaks(life, kind, lived_s)) for life in lives]
    lines = peaks if kind == "keeper" else [list(enumerate(mb for life in peaks for _, mb in life))]
    lines = [np.array(line, dtype=float) for line in lines if len(line) > 1]
    if sum(map(len, lines)) < FEWEST:
        return None
    number, mb = np.concatenate([line - line.mean(axis=0) for line in lines]).T
    return round(float(number @ mb / (number @ number)), 2)


def is_flat(samples: Sequence[Sample], kind: str, lived_s: float) -> bool | None:
    """Whether memory stays where it is; None where too few executions lived for `lived_s`."""
    growth = growth_mb(samples, kind, lived_s)
    if growth is None:
        return None
    return growth < FLAT_SHARE * statistics.median(one.memory_mb[kind] for one in samples)


def _peaks(life: Sequence[Sample], kind: str, lived_s: float) -> Iterator[tuple[int, float]]:
    """Of each execution its number and its most memory; a keeper is still growing into its work in the first."""
    executions = [list(of_one) for _, of_one in itertools.groupby(life, key=lambda one: one.execution)]
    for looks in executions[1:] if kind == "keeper" else executions:
        began_s = looks[0].at_s
        if looks[-1].at_s - began_s >= lived_s:
            yield (
                looks[0].execution,
                max(one.memory_mb[kind] for one in looks if one.at_s - began_s <= lived_s),
            )


def _kind(process: psutil.Process, keeper: int, runner: int, replicas: set[int]) -> str:
    if process.pid in {keeper, runner}:
        return "keeper" if process.pid == keeper else "runner"
    name = name_of(process)
    if name.startswith("ray::Map"):
        return "replicas" if process.pid in replicas else "prepare"
    return "brokers" if name == "java" else "ray"


def _files(pid: int) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(psutil.Process(pid).num_fds()) if pid else 0
    return 0
