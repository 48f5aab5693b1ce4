"""The stream's figures, end to end, on a real broker and a real Ray: `make bench-stream`.

Everything in one run, on one machine, so that ratios hold where absolute figures are noisy. Prints a table and
writes `bench/results/stream.json`. The aims are for two cores that also carry the broker; one that is missed is
written down as it is.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import orjson
from kafka import KafkaConsumer

from actors.learn.catalogue import generate
from actors.learn.vocabulary import Split
from bench import bare, load, rig
from bench.scenarios import Bench, Figures, pool, run
from bench.trivial import TRIVIAL
from pipeline.settings import Settings

RESULT = Path(__file__).parent / "results" / "stream.json"
REPLICAS = 2
"""Of one thread each: on two cores they do more than one of two threads."""
AIMS = {
    "end_to_end_ratio": ">= 0.90",
    "json_rows_per_s": ">= 30000",
    "batch_rows_per_s": ">= 200000",
    "latency_p50_ms": "<= 300",
    "latency_p99_ms": "<= 1000",
    "mb_per_million_rows": "none",
    "first_verdict_s": "<= 8",
    "rotation_pause_s": "none",
}


def end_to_end(bench: Bench) -> Figures:
    """Pairs per second through the gate, against as many scorers in bare loops on the same pairs.

    One half of the pairs goes through the loops before the gate runs, the other after it: the machine's pace
    changes within minutes.
    """
    n = bench.n(6000)
    items = generate(seed=11, n=n, split=Split.HELD_OUT)
    found = bench.settings("end-to-end", *pool(REPLICAS))
    load.send(found, load.messages(items))
    before = bare.rate(bench.bundle, items[::2], replicas=REPLICAS, threads=1)
    with rig.running(found) as gate:
        samples = gate.until(scored=n)
    after = bare.rate(bench.bundle, items[1::2], replicas=REPLICAS, threads=1)
    gated, loops = rig.rate(samples), statistics.harmonic_mean([before, after])
    return {"end_to_end_ratio": gated / loops, "pairs_per_s": gated, "bare_pairs_per_s": loops}


def json_messages(bench: Bench) -> Figures:
    """Rows per second of JSON messages, one candidate each; and what memory grows by."""
    n = bench.n(600_000)
    found = bench.settings("json", *TRIVIAL)
    load.send(found, map(load.candidate, range(n)))
    with rig.running(found) as gate:
        samples = gate.until(scored=n)
    return {
        "json_rows_per_s": rig.rate(samples),
        "mb_per_million_rows": rig.growth_mb_per_million(samples),
        "keeper_mb": samples[-1].keeper_mb,
        "runner_mb": samples[-1].runner_mb,
    }


def batch_messages(bench: Bench) -> Figures:
    """Rows per second of batch messages of 256 candidates."""
    n = bench.n(4_000_000) // load.BATCH_ROWS * load.BATCH_ROWS
    found = bench.settings("batch", *TRIVIAL, "claims.max_offsets=256")
    load.send(found, load.batches(n), load.ARROW)
    with rig.running(found) as gate:
        samples = gate.until(scored=n)
    return {"batch_rows_per_s": rig.rate(samples)}


def trickle(bench: Bench) -> Figures:
    """From produce to a verdict that a read_committed reader has, at 20 messages a second; and the start."""
    n, per_s = bench.n(1200), 20.0
    found = bench.settings("trickle", *TRIVIAL)
    load.send(found, [load.candidate(0)])
    with rig.running(found) as gate:
        first = gate.until(scored=1)[0].at - gate.started_at
        sender = threading.Thread(target=load.send, args=(found, _paced(_stamped(n), per_s)))
        sender.start()
        latencies = np.array(_received(found, n))
        sender.join()
    p50, p99 = np.percentile(latencies, [50, 99]) * 1000
    return {"latency_p50_ms": float(p50), "latency_p99_ms": float(p99), "first_verdict_s": first}


def rotation(bench: Bench) -> Figures:
    """The pause when an execution is replaced under load, the real model in it."""
    found = bench.settings("rotation", "execution.max_blocks=30", "claims.max_offsets=20")
    # An execution ends after 600 of them: with fewer there is no pause.
    items = generate(seed=12, n=max(1000, bench.n(1500)), split=Split.HELD_OUT)
    load.send(found, load.messages(items))
    with rig.running(found) as gate:
        gate.until(scored=len(items))
        return {"rotation_pause_s": gate.mean("sluice_rotation_pause_seconds")}


def main() -> None:
    """Run the scenarios that are named, or all, and record them."""
    scenarios = (end_to_end, json_messages, batch_messages, trickle, rotation)
    run(scenarios, RESULT, about=__doc__, aims=AIMS)


def _stamped(n: int) -> Iterator[bytes]:
    """Candidates that carry the time they were made at."""
    for _ in range(n):
        yield orjson.dumps({"candidate_id": f"at-{time.time_ns()}", "query": "boots", "document": "a boot"})


def _paced(values: Iterable[bytes], per_s: float) -> Iterator[bytes]:
    """Each at its time, counted from the first, so that a late one does not delay the rest."""
    began = time.monotonic()
    rest = iter(values)
    for i in itertools.count():
        time.sleep(max(0.0, began + i / per_s - time.monotonic()))
        try:
            value = next(rest)  # made when it is due: it may carry the time
        except StopIteration:
            return
        yield value


def _received(found: Settings, n: int) -> list[float]:
    """Seconds from the stamp in a candidate's id to the arrival of its verdict, n of them."""
    topics = [found.topics.outputs[route] for route in ("prune", "review", "pass")]
    latencies: list[float] = []
    with KafkaConsumer(
        *topics,
        **found.kafka,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        group_id=None,
        fetch_max_wait_ms=10,
    ) as reader:
        while len(latencies) < n:
            for records in reader.poll(timeout_ms=50).values():
                now = time.time_ns()
                ids = [orjson.loads(record.value)["candidate_id"] for record in records]
                latencies += [
                    (now - int(one.removeprefix("at-"))) / 1e9 for one in ids if one.startswith("at-")
                ]
    return latencies


if __name__ == "__main__":
    main()
