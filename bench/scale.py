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

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ray.cluster_utils import Cluster

from actors.learn.catalogue import generate
from actors.learn.vocabulary import Split
from bench import load, rig, watched
from bench.scenarios import Bench, Figures, pool, run
from bench.sleeping import SECONDS_PER_ROW, SLEEPING
from bench.trivial import TRIVIAL
from bench.watched import Watched
from pipeline.settings import Claims, Settings

RESULT = Path(__file__).parent / "results" / "scale.json"
REPLICAS = (1, 2, 4, 8)
GATES = (1, 2, 4)
OF_A_GATE = 2
"""Replicas, where there are several gates."""
SKIP_S, WATCH_S, REST_S = 3.0, 12.0, 8.0
"""What sleeping replicas are given to do: before they are watched, meanwhile, and so that they stay busy."""
SEND_S = 20.0
"""The same, while the rest is being sent."""
GROW_S = 12.0
"""Of such work, for pools that have to grow before."""
SMALL_OFFSETS = 16
"""Of a claim, where it is the number of claims that is to be the bound."""


def replicas(bench: Bench) -> Figures:
    """One gate with more and more replicas: rows per second, and what its runner takes of a core."""
    figures: Figures = {}
    for n in REPLICAS:
        found = bench.settings(f"replicas-{n}", *SLEEPING, *pool(n))
        allowed = n / SECONDS_PER_ROW
        load.send(found, map(load.candidate, range(bench.n(allowed * (SKIP_S + WATCH_S + REST_S)))))
        with rig.running(found) as gate:
            seen = watched.watch([gate], skip=bench.n(allowed * SKIP_S), rows=bench.n(allowed * WATCH_S))
        figures |= {
            f"replicas_{n}_rows_per_s": seen.rows_per_s,
            f"replicas_{n}_efficiency": seen.rows_per_s / allowed,
            f"replicas_{n}_runner_cores": seen.cpu_s["runner"] / seen.seconds,
        }
    return figures


def json_messages(bench: Bench) -> Figures:
    """CPU seconds for a million JSON messages of one candidate each, with a scorer that costs nothing."""
    n = bench.n(600_000)
    found = bench.settings("json", *TRIVIAL)
    load.send(found, map(load.candidate, range(n)))
    with rig.running(found) as gate:
        return _cost("json", watched.watch([gate], skip=n // 5, rows=n * 7 // 10))


def batch_messages(bench: Bench) -> Figures:
    """The same in batch messages of 256 candidates."""
    n = bench.n(3_000_000) // load.BATCH_ROWS * load.BATCH_ROWS
    found = bench.settings("batch", *TRIVIAL, "claims.max_offsets=256")
    load.send(found, load.batches(n), load.ARROW)
    with rig.running(found) as gate:
        return _cost("batch", watched.watch([gate], skip=n // 5, rows=n * 7 // 10))


def claims(bench: Bench) -> Figures:
    """The most claims that a runner hands round in a second: eight replicas, claims of 16 ms."""
    n = bench.n(24_000)
    small = [f"claims.{bound}_offsets={SMALL_OFFSETS}" for bound in ("min", "max")]
    found = bench.settings("claims", *SLEEPING, *pool(8), *small, "pool.prepare_actors=2")
    load.send(found, map(load.candidate, range(n)))
    with rig.running(found) as gate:
        seen = watched.watch([gate], skip=n // 5, rows=n * 7 // 10)
    return {
        "claims_per_s": seen.claims / seen.seconds,
        "claims_runner_cpu_ms": 1000 * seen.cpu_s["runner"] / seen.claims,
    }


def model(bench: Bench) -> Figures:
    """One replica of one thread of the real model, and what Prepare costs for it."""
    items = generate(seed=14, n=bench.n(2_500), split=Split.HELD_OUT)
    found = bench.settings("model", *pool(1))
    load.send(found, load.messages(items))
    with rig.running(found) as gate:
        seen = watched.watch([gate], skip=len(items) // 5, rows=len(items) * 6 // 10)
    return {
        "model_pairs_per_s": seen.rows_per_s,
        "model_prepare_cpu_s_per_million": seen.cpu_s["prepare"] / seen.rows * 1e6,
    }


def gates(bench: Bench) -> Figures:
    """More and more gates of one group, of two replicas each, each with a Ray of its own."""
    figures: Figures = {}
    for n in GATES:
        seen, ready_s = _together(bench, f"gates-{n}", n, *pool(OF_A_GATE), "ray.num_cpus=2")
        figures |= {
            f"gates_{n}_rows_per_s": seen.rows_per_s,
            f"gates_{n}_efficiency": seen.rows_per_s / (n * OF_A_GATE / SECONDS_PER_ROW),
            f"gates_{n}_cores": _cores(seen),
            f"gates_{n}_ready_s": ready_s,
        }
    return figures


def one_cluster(bench: Bench) -> Figures:
    """Two gates on one cluster with room for both; and where either pool may grow over all that there is."""
    with _cluster(num_cpus=4) as address:
        seen, ready_s = _together(bench, "one", 2, *pool(OF_A_GATE), f"ray.address={address}")
    room = 2 * OF_A_GATE
    # Two Prepare actors take a core, so that the other two are just the room.
    grown = ("pool.cpus_per_replica=0.5", f"pool.max_replicas={room}", "pool.cpus_per_prepare=0.5")
    with _cluster(num_cpus=3) as address:
        grew, _ = _together(bench, "grown", 2, *grown, f"ray.address={address}", skip_s=GROW_S)
    return {
        "one_cluster_rows_per_s": seen.rows_per_s,
        "one_cluster_cores": _cores(seen),
        "one_cluster_ready_s": ready_s,
        "one_cluster_grown_rows_per_s": grew.rows_per_s,
        "one_cluster_grown_smaller_share": min(grew.of_gates) / sum(grew.of_gates),
    }


def _together(
    bench: Bench, name: str, n: int, *overrides: str, skip_s: float = SKIP_S
) -> tuple[Watched, float]:
    """Gates of one group that were all ready before they had anything to do; and how long that took."""
    found = bench.settings(name, *SLEEPING, *overrides, "ray.object_store_mb=100")
    allowed = n * OF_A_GATE / SECONDS_PER_ROW
    with ExitStack() as stack:
        gates = [stack.enter_context(rig.running(_instance(found, i))) for i in range(n)]
        ready_s = watched.ready(gates) - gates[0].started_at
        n_rows = bench.n(allowed * (SEND_S + skip_s + WATCH_S + REST_S))
        load.send(found, map(load.candidate, range(n_rows)))
        seen = watched.watch(gates, skip=bench.n(allowed * skip_s), rows=bench.n(allowed * WATCH_S))
        for gate in gates:
            gate.end()
    return seen, ready_s


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


def _cost(name: str, seen: Watched) -> Figures:
    """Rows per second, and CPU seconds of each part for a million rows."""
    costs = {f"{name}_{part}_cpu_s": seconds / seen.rows * 1e6 for part, seconds in seen.cpu_s.items()}
    return {f"{name}_rows_per_s": seen.rows_per_s, **costs}


def _cores(seen: Watched) -> float:
    """What gates and Ray took, the broker not."""
    return (sum(seen.cpu_s.values()) - seen.cpu_s["broker"]) / seen.seconds


def fed(figures: Mapping[str, float]) -> Figures:
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
    scenarios = (replicas, json_messages, batch_messages, claims, model, gates, one_cluster)
    run(scenarios, RESULT, about=__doc__, aims={}, derived=fed)


if __name__ == "__main__":
    main()
