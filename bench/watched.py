"""Gates under load, watched together: what they settle, and what each of their parts spends meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench import rig, spent
from bench.scenarios import PARTITIONS

PATIENCE_S = 150.0
"""For gates that do not get ready, or settle nothing more."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What gates did together while they were watched."""

    rows_per_s: float
    of_gates: tuple[float, ...]
    """The same of each."""
    rows: int
    seconds: float
    claims: float
    """That came back."""
    cpu_s: Mapping[str, float]
    """By part, see `bench.spent`."""


def watch(gates: Sequence[rig.Gate], *, skip: int, rows: int) -> Watched:
    """Watch gates that are under load, once they have settled some more candidates. Blocks.

    Args:
        gates: All of a group.
        skip: Candidates that get a verdict before.
        rows: Candidates that get one meanwhile; of all gates together, as `skip`.
    """
    looks = list(_looks(gates, skip))[-1:]
    before, claims = spent.look(gates), _claims(gates)
    looks += _looks(gates, rows)
    after = spent.look(gates)
    at = np.array([seconds for seconds, _ in looks])
    scored = np.array([of_gates for _, of_gates in looks])
    # A line through all the looks: verdicts come a claim at a time, and the ends alone would say too little.
    slopes = np.polyfit(at - at[0], scored, 1)[0]
    return Watched(
        float(slopes.sum()),
        tuple(map(float, slopes)),
        int(scored[-1].sum() - scored[0].sum()),
        float(at[-1] - at[0]),
        _claims(gates) - claims,
        spent.between(before, after),
    )


def _looks(gates: Sequence[rig.Gate], n: int) -> Iterator[tuple[float, list[int]]]:
    """When, and candidates with a verdict of each gate, until there are so many more in all."""
    deadline = time.monotonic() + PATIENCE_S
    first: int | None = None
    while True:
        for gate in gates:
            gate.check(deadline, f"settles no {n} candidates more")
        scored = [rig.n_scored(gate.status() or {}) for gate in gates]
        yield time.monotonic(), scored
        first = sum(scored) if first is None else first
        if sum(scored) >= first + n:
            return
        time.sleep(rig.TICK_S)


def ready(gates: Sequence[rig.Gate]) -> float:
    """Wait until each has its share of the partitions and a warm pool; when that was."""
    deadline = time.monotonic() + PATIENCE_S
    share = PARTITIONS // len(gates)
    for gate in gates:
        while not ((status := gate.status()) and status.get("ready") and len(status["partitions"]) == share):
            gate.check(deadline, "does not get ready")
            time.sleep(rig.TICK_S)
    return time.monotonic()


def _claims(gates: Sequence[rig.Gate]) -> float:
    return sum(gate.value('sluice_stage_seconds_count{stage="score"}') for gate in gates)
