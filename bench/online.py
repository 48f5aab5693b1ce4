"""The online door at twice its capacity, end to end, on a real Ray Serve: `make bench-online`.

First, callers that wait for each answer measure the capacity; then requests arrive at twice that rate for a
minute, whether or not those before are answered. Each must get verdicts or 429: nothing hangs, nothing is a
500, and what was answered has waited less than a second. Prints a table and writes `bench/results/online.json`.
The callers share the machine with the door.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import requests

from actors.learn.catalogue import generate
from actors.learn.train import build_demo_bundle
from actors.learn.vocabulary import Split
from bench import machine, rig, scenarios
from pipeline.kafka.jars import cache_folder

RESULT = Path(__file__).parent / "results" / "online.json"
PAIRS = 20
"""In one request."""
N_ITEMS = 60_000
"""More than are sent: a pair that comes again costs the door nothing."""
CALLERS = 4
"""Who measure the capacity: enough that something always waits."""
OVERLOAD = 2.0
HANGS_S = 30.0
"""A caller gives up then; the door's own deadline comes earlier."""
AIMS = {
    "other_answers": "0",
    "hung": "0",
    "wait_p99_s": "<= 1",
    "answered_share_of_capacity": ">= 0.9",
}


class Seen(NamedTuple):
    """What one caller saw."""

    code: int
    """0 where no answer came."""
    seconds: float
    wait_s: float
    """What the answer says of it."""


class Caller:
    """Sends requests that differ, over connections that stay open."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/score"
        self._own = threading.local()
        items = generate(seed=13, n=N_ITEMS, split=Split.HELD_OUT)
        pairs = [
            {"candidate_id": item.candidate_id, "query": item.query, "document": item.document}
            for item in items
        ]
        cuts = range(0, len(pairs), PAIRS)
        self._bodies = itertools.cycle([orjson.dumps({"candidates": pairs[at : at + PAIRS]}) for at in cuts])
        self._lock = threading.Lock()

    def __call__(self) -> Seen:
        """Send one, and wait for its answer."""
        with self._lock:
            body = next(self._bodies)
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
        began = time.monotonic()
        try:
            answer = self._own.session.post(self._url, data=body, timeout=HANGS_S)
        except requests.RequestException:
            return Seen(0, time.monotonic() - began, 0.0)
        seconds = time.monotonic() - began
        told = re.search(r"wait;dur=([0-9.]+)", answer.headers.get("server-timing", ""))
        return Seen(answer.status_code, seconds, float(told[1]) / 1000 if told else 0.0)


def capacity(caller: Caller, seconds: float) -> float:
    """Pairs per second that are answered while something always waits."""
    until = time.monotonic() + seconds

    def ask() -> int:
        n = 0
        while time.monotonic() < until:
            if caller().code == 200:
                n += 1
            else:
                time.sleep(0.1)
        return n

    with ThreadPoolExecutor(CALLERS) as pool:
        return PAIRS * sum(one.result() for one in [pool.submit(ask) for _ in range(CALLERS)]) / seconds


def overloaded(caller: Caller, *, pairs_per_s: float, seconds: float) -> list[Seen]:
    """Send at this rate, each request at its time, whatever became of those before."""
    per_s = pairs_per_s / PAIRS
    with ThreadPoolExecutor(512) as pool:
        began = time.monotonic()
        sent = []
        for n in range(int(per_s * seconds)):
            time.sleep(max(0.0, began + n / per_s - time.monotonic()))
            sent.append(pool.submit(caller))
        return [one.result() for one in sent]


def figures(seen: Sequence[Seen], *, measured: float, seconds: float) -> dict[str, float]:
    """What the overload showed."""
    answered = [one for one in seen if one.code == 200]
    refused = [one for one in seen if one.code == 429]
    hung = sum(one.code == 0 for one in seen)
    answered_pairs_per_s = PAIRS * len(answered) / seconds
    return {
        "capacity_pairs_per_s": measured,
        "offered_pairs_per_s": PAIRS * len(seen) / seconds,
        "answered_pairs_per_s": answered_pairs_per_s,
        "answered_share_of_capacity": answered_pairs_per_s / measured,
        "answered": len(answered),
        "refused": len(refused),
        "other_answers": len(seen) - len(answered) - len(refused) - hung,
        "hung": hung,
        "wait_p50_s": _percentile([one.wait_s for one in answered], 50),
        "wait_p99_s": _percentile([one.wait_s for one in answered], 99),
        "latency_p50_s": _percentile([one.seconds for one in answered], 50),
        "latency_p99_s": _percentile([one.seconds for one in answered], 99),
        "refusal_p99_s": _percentile([one.seconds for one in refused], 99),
    }


@contextmanager
def running(bundle: Path, *overrides: str) -> Iterator[str]:
    """A door that is ready, by its address; stopped at the end."""
    sets = (f"bundle={bundle}", "http.port=0", "ray.num_cpus=4", *overrides)
    with tempfile.NamedTemporaryFile(prefix="sluice-bench-", suffix=".log") as log:
        process = rig.sluice(
            "serve", *(part for one in sets for part in ("--set", one)), stdout=log, stderr=log
        )
        try:
            yield _ready(process, Path(log.name))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        opened = re.search(r"door open at (\S+)", log.read_text(errors="replace"))
        with suppress(requests.Timeout):
            if opened and requests.get(f"{opened[1]}/readyz", timeout=10).ok:
                return opened[1]
        time.sleep(0.2)
    sys.exit(f"no door that is ready:\n{log.read_text()[-3000:]}")


def _percentile(values: Sequence[float], q: float) -> float:
    return float(np.percentile(values, q)) if values else 0.0


def main() -> int:
    """Measure, print, record; 1 where a request hung, or was answered with something else."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="below 60 nothing is recorded")
    parser.add_argument("--set", action="append", default=[], help="a setting of the door")
    parser.add_argument("--bundle", type=Path, help="instead of the demo's; then nothing is recorded")
    arguments = parser.parse_args()
    bundle = arguments.bundle or build_demo_bundle(cache_folder() / "bundles")
    load = os.getloadavg()[0]
    with running(bundle, *arguments.set) as url:
        caller = Caller(url)
        measured = capacity(caller, arguments.seconds / 3)
        seen = overloaded(caller, pairs_per_s=OVERLOAD * measured, seconds=arguments.seconds)
    found: dict[str, Any] = figures(seen, measured=measured, seconds=arguments.seconds)
    scenarios.show(found, AIMS)
    if arguments.seconds >= 60 and arguments.bundle is None:
        rounded = {name: round(value, 4) for name, value in found.items()}
        conditions = machine.described() | {"load_before": round(load, 2)}
        RESULT.write_text(json.dumps(rounded | {"machine": conditions}, indent=2) + "\n")
    return 1 if found["hung"] or found["other_answers"] else 0


if __name__ == "__main__":
    sys.exit(main())
