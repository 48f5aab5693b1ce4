"""The pool of an online door follows its load: Ray Serve adds a replica, and lets it go again."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from tests.doors import Door
from tests.fakes import stand_in_bundle
from tests.faults.nodes import Nodes, name_of
from tests.faults.paced import set_pace

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "follows"
CALLERS = 4
SECONDS_PER_ROW = 0.05
N_ROWS = 20
"""Of one request: a second's work for a replica."""
QUICK = (
    "scaling.upscale_delay_s=1",
    "scaling.downscale_delay_s=2",
    "scaling.look_back_s=10.1",
    "queue.max_wait_s=60",
    "requests.deadline_s=60",
)


def test_a_replica_is_added_under_load_and_let_go_without_it(nodes: Nodes, tmp_path: Path) -> None:
    bundle = stand_in_bundle(tmp_path / "bundle")
    set_pace(bundle.path, SECONDS_PER_ROW)
    settings = (
        f"bundle={bundle.path}",
        f"name={NAME}",
        f"ray.address={nodes.address}",
        "pool.scorer=tests.faults.paced:PacedScorer",
        "pool.preparer=tests.faults.paced:PoisonPreparer",
        "pool.cache_pairs=0",
        "pool.max_replicas=2",
    )
    codes: Counter[int] = Counter()
    idle = threading.Event()
    with Door(tmp_path / "log", *settings, *QUICK) as door, ThreadPoolExecutor(CALLERS) as callers:
        url = door.until_ready()
        # What asks whether it is ready waits, too: for that Serve may have added one.
        door.until(lambda: n_replicas() == 1, "has one replica before there is load")

        def call() -> None:
            while not idle.is_set():
                codes[requests.post(f"{url}/v1/score", json=candidates(), timeout=120).status_code] += 1

        try:
            calls = [callers.submit(call) for _ in range(CALLERS)]
            door.until(lambda: n_replicas() == 2, "has two replicas under load")
        finally:
            idle.set()
        for one in calls:
            one.result()
        assert set(codes) == {200}
        door.until(lambda: n_replicas() == 1, "has one replica without load")
        assert requests.post(f"{url}/v1/score", json=candidates(), timeout=120).ok


def candidates() -> dict[str, list[dict[str, str]]]:
    return {
        "candidates": [
            {"candidate_id": f"c{n}", "query": "red shoes", "document": f"boot no. {n}"}
            for n in range(N_ROWS)
        ]
    }


def n_replicas() -> int:
    """Those that score, by the names that Ray gives to processes."""
    return sum(
        name_of(process).startswith(f"ray::ServeReplica:{NAME}:Score") for process in psutil.process_iter()
    )
