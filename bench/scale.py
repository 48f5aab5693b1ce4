"""How a gate's cost grows, and what several gates do, on a real broker and a real Ray: `make bench-scale`.

Replicas here sleep for each row and cost no CPU, so that eight of them fit on two cores: what is measured is what
the gate around them costs, and whether it keeps them busy. `efficiency` is against what the sleep allows. CPU
seconds are the kernel's, of each process. How many replicas of the real model a gate can feed follows from the
figures: by its keeper, if that had a core to itself; by its runner, from the claims that it was seen to hand
round, a floor, because they are so small that Prepare reads most of what it fetches in vain; by one Prepare actor,
of which there may be several. No pool is larger than eight here, and brokers, gates
and their Rays share the cores: what several gates can do on cores of their own is more. Prints a table and writes
`bench/results/scale.json`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table

from actors.learn.catalogue import Split, generate
from actors.learn.train import build_demo_bundle
from bench import load, machine, rig, spent
from bench.sleeping import SECONDS_PER_ROW
from pipeline.kafka.embedded import EmbeddedKafka
from pipeline.kafka.jars import cache_folder
from pipeline.settings import Claims, Settings

RESULT = Path(__file__).parent / "results" / "scale.json"
PREPARER = "pool.preparer=bench.trivial:TrivialPreparer"
TRIVIAL = (PREPARER, "pool.scorer=bench.trivial:TrivialScorer")
SLEEPING = (PREPARER, "pool.scorer=bench.sleeping:SleepingScorer", "pool.cpus_per_replica=0.25")
REPLICAS = (1, 2, 4, 8)
GATES = (1, 2, 4)
OF_A_GATE = 2
"""Replicas, where there are several gates."""
PARTITIONS = 4
SKIP_S, WATCH_S, REST_S = 3.0, 12.0, 8.0
"""What sleeping replicas are given to do: before they are watched, meanwhile, and so that they stay busy."""
SEND_S = 20.0
"""The same, while the rest is being sent."""
GROW_S = 12.0
"""Of such work, for pools that have to grow before."""
SMALL_OFFSETS = 16
"""Of a claim, where it is the number of claims that is to be the bound."""
PATIENCE_S = 150.0


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


class Bench:
    """The scenarios, one after the other, on one broker and with one bundle.

    Args:
        bootstrap_servers: The broker.
        bundle: The real model.
        scale: Multiplies the number of rows; 1 is the recorded run.
    """

    def __init__(self, bootstrap_servers: str, bundle: Path, scale: float) -> None:
        self._bootstrap = bootstrap_servers
        self._bundle = bundle
        self._scale = scale

    def replicas(self) -> dict[str, float]:
        """One gate with more and more replicas: rows per second, and what its runner takes of a core."""
        figures: dict[str, float] = {}
        for n in REPLICAS:
            found = self._settings(f"replicas-{n}", *SLEEPING, *_pool(n))
            allowed = n / SECONDS_PER_ROW
            load.send(found, map(load.candidate, range(self._n(allowed * (SKIP_S + WATCH_S + REST_S)))))
            with rig.running(found) as gate:
                seen = watch([gate], skip=self._n(allowed * SKIP_S), rows=self._n(allowed * WATCH_S))
            figures |= {
                f"replicas_{n}_rows_per_s": seen.rows_per_s,
                f"replicas_{n}_efficiency": seen.rows_per_s / allowed,
                f"replicas_{n}_runner_cores": seen.cpu_s["runner"] / seen.seconds,
            }
        return figures

    def json_messages(self) -> dict[str, float]:
        """CPU seconds for a million JSON messages of one candidate each, with a scorer that costs nothing."""
        n = self._n(600_000)
        found = self._settings("json", *TRIVIAL)
        load.send(found, map(load.candidate, range(n)))
        with rig.running(found) as gate:
            return _cost("json", watch([gate], skip=n // 5, rows=n * 7 // 10))

    def batch_messages(self) -> dict[str, float]:
        """The same in batch messages of 256 candidates."""
        n = self._n(3_000_000) // load.BATCH_ROWS * load.BATCH_ROWS
        found = self._settings("batch", *TRIVIAL, "claims.max_offsets=256")
        load.send(found, load.batches(n), load.ARROW)
        with rig.running(found) as gate:
            return _cost("batch", watch([gate], skip=n // 5, rows=n * 7 // 10))

    def claims(self) -> dict[str, float]:
        """The most claims that a runner hands round in a second: eight replicas, claims of 16 ms."""
        n = self._n(24_000)
        small = [f"claims.{bound}_offsets={SMALL_OFFSETS}" for bound in ("min", "max")]
        found = self._settings("claims", *SLEEPING, *_pool(8), *small, "pool.prepare_actors=2")
        load.send(found, map(load.candidate, range(n)))
        with rig.running(found) as gate:
            seen = watch([gate], skip=n // 5, rows=n * 7 // 10)
        return {
            "claims_per_s": seen.claims / seen.seconds,
            "claims_runner_cpu_ms": 1000 * seen.cpu_s["runner"] / seen.claims,
        }

    def model(self) -> dict[str, float]:
        """One replica of one thread of the real model, and what Prepare costs for it."""
        items = generate(seed=14, n=self._n(2_500), split=Split.HELD_OUT)
        found = self._settings("model", *_pool(1))
        load.send(found, load.messages(items))
        with rig.running(found) as gate:
            seen = watch([gate], skip=len(items) // 5, rows=len(items) * 6 // 10)
        return {
            "model_pairs_per_s": seen.rows_per_s,
            "model_prepare_cpu_s_per_million": seen.cpu_s["prepare"] / seen.rows * 1e6,
        }

    def gates(self) -> dict[str, float]:
        """More and more gates of one group, of two replicas each, each with a Ray of its own."""
        figures: dict[str, float] = {}
        for n in GATES:
            seen, ready_s = self._together(f"gates-{n}", n, *_pool(OF_A_GATE), "ray.num_cpus=2")
            figures |= {
                f"gates_{n}_rows_per_s": seen.rows_per_s,
                f"gates_{n}_efficiency": seen.rows_per_s / (n * OF_A_GATE / SECONDS_PER_ROW),
                f"gates_{n}_cores": _cores(seen),
                f"gates_{n}_ready_s": ready_s,
            }
        return figures

    def one_cluster(self) -> dict[str, float]:
        """Two gates on one cluster with room for both; and where either pool may grow over all that there is."""
        with _cluster(num_cpus=4) as address:
            seen, ready_s = self._together("one", 2, *_pool(OF_A_GATE), f"ray.address={address}")
        room = 2 * OF_A_GATE
        # Two Prepare actors take a core, so that the other two are just the room.
        grown = ("pool.cpus_per_replica=0.5", f"pool.max_replicas={room}", "pool.cpus_per_prepare=0.5")
        with _cluster(num_cpus=3) as address:
            grew, _ = self._together("grown", 2, *grown, f"ray.address={address}", skip_s=GROW_S)
        return {
            "one_cluster_rows_per_s": seen.rows_per_s,
            "one_cluster_cores": _cores(seen),
            "one_cluster_ready_s": ready_s,
            "one_cluster_grown_rows_per_s": grew.rows_per_s,
            "one_cluster_grown_smaller_share": min(grew.of_gates) / sum(grew.of_gates),
        }

    def _together(self, name: str, n: int, *overrides: str, skip_s: float = SKIP_S) -> tuple[Watched, float]:
        """Gates of one group that were all ready before they had anything to do; and how long that took."""
        found = self._settings(name, *SLEEPING, *overrides, "ray.object_store_mb=100")
        allowed = n * OF_A_GATE / SECONDS_PER_ROW
        with ExitStack() as stack:
            gates = [stack.enter_context(rig.running(_instance(found, i))) for i in range(n)]
            ready_s = _ready(gates) - gates[0].started_at
            n_rows = self._n(allowed * (SEND_S + skip_s + WATCH_S + REST_S))
            load.send(found, map(load.candidate, range(n_rows)))
            seen = watch(gates, skip=self._n(allowed * skip_s), rows=self._n(allowed * WATCH_S))
            for gate in gates:
                gate.end()
        return seen, ready_s

    def _n(self, n: float) -> int:
        return max(1, round(n * self._scale))

    def _settings(self, name: str, *overrides: str) -> Settings:
        return rig.settings(self._bootstrap, self._bundle, name, *overrides)


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


def _ready(gates: Sequence[rig.Gate]) -> float:
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


def _pool(n: int) -> list[str]:
    return [f"pool.{bound}_replicas={n}" for bound in ("min", "max")]


def _instance(found: Settings, i: int) -> Settings:
    """The settings of one gate of a group."""
    return found.model_copy(update={"gate": found.gate.model_copy(update={"instance": f"gate-{i}"})})


@contextmanager
def _cluster(num_cpus: int) -> Iterator[str]:
    """A Ray cluster of one node, by its address."""
    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=num_cpus, object_store_memory=200 << 20, include_dashboard=False)
        yield str(cluster.address)
    finally:
        cluster.shutdown()


def _cost(name: str, seen: Watched) -> dict[str, float]:
    """Rows per second, and CPU seconds of each part for a million rows."""
    costs = {f"{name}_{part}_cpu_s": seconds / seen.rows * 1e6 for part, seconds in seen.cpu_s.items()}
    return {f"{name}_rows_per_s": seen.rows_per_s, **costs}


def _cores(seen: Watched) -> float:
    """What gates and Ray took, the broker not."""
    return (sum(seen.cpu_s.values()) - seen.cpu_s["broker"]) / seen.seconds


def fed(figures: Mapping[str, float]) -> dict[str, float]:
    """How many replicas of the real model one gate can feed, by each bound that the figures know."""
    pairs_per_s = figures.get("model_pairs_per_s")
    if pairs_per_s is None:
        return {}
    per_million = {
        "keeper_json": "json_keeper_cpu_s",
        "keeper_batch": "batch_keeper_cpu_s",
        "prepare_actor": "model_prepare_cpu_s_per_million",
    }
    found = {
        f"replicas_fed_by_{bound}": 1e6 / figures[name] / pairs_per_s
        for bound, name in per_million.items()
        if name in figures
    }
    if "claims_per_s" in figures:
        # A replica takes a claim each `claims.target_s`, by default each second.
        found["replicas_fed_by_runner"] = figures["claims_per_s"] * Claims().target_s
    return found


def main() -> None:
    """Run the scenarios that are named, or all, and record them."""
    names = ("replicas", "json_messages", "batch_messages", "claims", "model", "gates", "one_cluster")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"any of {', '.join(names)}; all by default")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="multiplies the rows; below 1 nothing is recorded"
    )
    parser.add_argument("--bundle", type=Path, help="instead of the demo's; then nothing is recorded")
    arguments = parser.parse_args()
    bundle = arguments.bundle or build_demo_bundle(cache_folder() / "bundles")
    figures: dict[str, float] = {}
    with EmbeddedKafka() as kafka:
        bench = Bench(kafka.bootstrap_servers, bundle, arguments.scale)
        for name in arguments.scenario or names:
            print(f"{name} …", file=sys.stderr, flush=True)
            figures |= getattr(bench, name)()
    figures |= fed(figures)
    _show(figures)
    if arguments.scale >= 1 and arguments.bundle is None:
        machine.record(RESULT, figures)


def _show(figures: Mapping[str, float]) -> None:
    table = Table(title="how cost grows")
    for column in ("figure", "measured"):
        table.add_column(column)
    for name, value in figures.items():
        table.add_row(name, f"{value:,.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
