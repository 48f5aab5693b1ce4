"""A real door on a real Ray Serve: verdicts, replicas that die, and its end."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests

from actors.bundle import Bundle
from pipeline.errors import SettingsError
from pipeline.serving.settings import ServeSettings
from tests.doors import Door
from tests.fakes import PoisonPreparer, PoisonScorer, stand_in_bundle

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]


def candidates(*texts: object) -> dict[str, Any]:
    return {
        "candidates": [{"candidate_id": f"c-{text}", "query": "q", "document": str(text)} for text in texts]
    }


def score(url: str, *texts: object) -> requests.Response:
    return requests.post(f"{url}/v1/score", json=candidates(*texts), timeout=300)


def overrides(bundle: Bundle, ray_address: str, name: str) -> list[str]:
    """The settings of a door whose replicas die of some texts."""
    return [
        f"bundle={bundle.path}",
        f"name={name}",
        "pool.preparer=tests.fakes:PoisonPreparer",
        "pool.scorer=tests.fakes:PoisonScorer",
        "pool.cpus_per_replica=0.5",
        "pool.cpus_per_prepare=0.25",
        "requests.deadline_s=120",
        "queue.max_wait_s=120",
        f"ray.address={ray_address}",
    ]


def has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.fixture(scope="module")
def online() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Ray Serve's own fields
        from pipeline import online
    return online


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return stand_in_bundle(tmp_path_factory.mktemp("stand-in"))


@pytest.fixture(scope="module")
def arithmetic(
    stand_in: Bundle, ray_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Door]:
    log = tmp_path_factory.mktemp("online") / "log"
    with Door(log, *overrides(stand_in, ray_address, "arithmetic")) as door:
        door.until_ready()
        yield door


def test_verdicts_come_and_what_is_measured_is_told(arithmetic: Door) -> None:
    answer = score(arithmetic.url, 250, 150, 50, "")
    assert [one.get("action", one.get("reason")) for one in answer.json()["verdicts"]] == [
        "prune",
        "review",
        "pass",
        "empty_text",
    ]
    text = requests.get(f"{arithmetic.url}/metrics", timeout=60).text
    assert "sluice_online_scored_pairs_total 3.0" in text.splitlines()


def test_requests_of_several_callers_are_scored_together(arithmetic: Door) -> None:
    url = arithmetic.url

    def batches() -> float:
        lines = requests.get(f"{url}/metrics", timeout=60).text.splitlines()
        return sum(
            float(line.split()[1]) for line in lines if line.startswith("sluice_online_batch_seconds_count")
        )

    before = batches()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: score(url, n).json()["verdicts"][0]["score"], range(100)))
    assert answers == pytest.approx([n / 100 for n in range(100)])
    assert batches() - before < 100


@pytest.mark.parametrize("poison", [PoisonScorer.EXITS, PoisonPreparer.ABORTS])
def test_what_ends_its_replica_is_refused_and_the_next_request_is_answered(
    arithmetic: Door, poison: object
) -> None:
    refused = score(arithmetic.url, poison)
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    arithmetic.until_ready()
    assert score(arithmetic.url, 150).json()["verdicts"][0]["score"] == 1.5


def test_a_broken_replica_is_replaced(arithmetic: Door) -> None:
    assert score(arithmetic.url, PoisonScorer.BREAKS).status_code == 503
    arithmetic.until_ready()
    assert score(arithmetic.url, 150).status_code == 200


def test_no_request_hangs_or_is_a_500_while_replicas_die(arithmetic: Door) -> None:
    url, stop = arithmetic.until_ready(), threading.Event()
    codes: list[int] = []

    def ask() -> None:
        while not stop.is_set():
            answer = score(url, 150)
            codes.append(answer.status_code)
            time.sleep(0.2 if answer.ok else 0.5)

    with ThreadPoolExecutor(5) as pool:
        asking: list[Future[None]] = [pool.submit(ask) for _ in range(4)]
        try:
            arithmetic.until(lambda: 200 in codes, "answers")
            score(url, PoisonScorer.EXITS)
            n_before = len(codes)
            arithmetic.until(lambda: 200 in codes[n_before:], "answers again")
        finally:
            stop.set()
    for one in asking:
        one.result()
    assert set(codes) <= {200, 503, 504}  # a replica may take longer than the deadline to come back


def test_a_door_removes_what_one_of_its_name_left_when_it_was_killed(
    stand_in: Bundle, ray_address: str, tmp_path: Path
) -> None:
    """Its replicas went on answering, with whatever bundle they had."""
    settings = overrides(stand_in, ray_address, "twice")
    with Door(tmp_path / "first", *settings) as first:
        assert score(first.until_ready(), 150).status_code == 200
    with Door(tmp_path / "second", *settings) as second:
        assert score(second.until_ready(), 150).status_code == 200
        assert second.stop() == 0


def test_the_real_model_answers_on_a_ray_of_its_own_and_the_end_is_clean(
    base_bundle: Bundle, tmp_path: Path
) -> None:
    """Ray was started in a thread that ended, and was ended with it."""
    settings = [f"bundle={base_bundle.path}", "ray.num_cpus=2", "ray.object_store_mb=100"]
    with Door(tmp_path / "log", *settings, environment={"SLUICE_TOKEN": "t0ken"}) as door:
        url = door.until_ready()
        asked = {"query": "red shoes", "texts": ["blue hat", "red shoes for men"]}
        assert requests.post(f"{url}/rerank", json=asked, timeout=60).status_code == 401
        headers = {"Authorization": "Bearer t0ken"}
        answer = requests.post(f"{url}/rerank", json=asked, headers=headers, timeout=60)
        assert {one["index"] for one in answer.json()} == {0, 1}
        assert answer.headers["sluice-bundle"] == base_bundle.digest
        # What is in flight at the signal is answered.
        many = [{"candidate_id": f"c{n}", "query": "q", "document": f"shoe {n}"} for n in range(300)]
        with ThreadPoolExecutor(1) as pool:
            last = pool.submit(
                requests.post, f"{url}/v1/score", json={"candidates": many}, headers=headers, timeout=300
            )
            waits = "sluice_online_waiting_requests 1.0"
            told = partial(requests.get, f"{url}/metrics", headers=headers, timeout=60)
            door.until(lambda: last.done() or waits in told().text.splitlines(), "holds the request")
            assert door.stop() == 0
            assert len(last.result().json()["verdicts"]) == 300
        assert "t0ken" not in door.log


@pytest.mark.parametrize("not_ready", ["starting", None])
def test_a_signal_ends_the_door_whatever_ray_does_to_it_while_it_starts(not_ready: str | None) -> None:
    """SIGTERM before the replicas were warm printed Ray's stack, and ended the door with SIGABRT.

    In a process of its own: what other tests have loaded into this one does not bear every signal.
    """
    told = f"""
import asyncio, os, signal
from types import SimpleNamespace
from pipeline import online
from pipeline.serving.service import STARTING

of_ray = []
service = SimpleNamespace(not_ready=STARTING)

async def door():
    stopping, deploying = asyncio.Event(), asyncio.get_running_loop().create_future()
    online._stop_on_signals(stopping)
    waiting = asyncio.create_task(online._until_stopped(stopping, deploying, service, start_s=60))
    await asyncio.sleep(0.02)
    signal.signal(signal.SIGTERM, lambda number, _: of_ray.append(number))
    service.not_ready = {not_ready!r}
    await asyncio.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(waiting, 20)

asyncio.run(door())
print(of_ray)
"""
    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "[]\n"), ended.stderr


def test_replicas_that_do_not_go_do_not_change_how_the_door_ends(
    online: ModuleType, stand_in: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end was a stack and 1, also in the place of what had ended the door."""
    left: list[bool] = []

    def refuse(_: str) -> None:
        raise TimeoutError("still there after 60s")

    monkeypatch.setattr(online.serve, "delete", refuse)
    monkeypatch.setattr(online.ray, "shutdown", lambda: left.append(True))
    handle: Any = object()
    online.Replicas(ServeSettings(bundle=str(stand_in.path)), stand_in, handle=handle).remove()
    assert left == [True]


@pytest.mark.parametrize(
    ("host", "setting"),
    [("127.0.0.1", "http.port"), ("198.51.100.1", "http.host"), ("no-such.invalid", "http.host")],
)
def test_an_address_that_cannot_be_listened_on_is_named(online: ModuleType, host: str, setting: str) -> None:
    """A host that is not this machine's was said to be a matter of the port."""
    settings = ServeSettings(bundle="any", http={"host": "127.0.0.1", "port": 0})
    with online._listening(settings) as listener:
        taken = ServeSettings(bundle="any", http={"host": host, "port": listener.getsockname()[1]})
        with pytest.raises(SettingsError) as refused, online._listening(taken):
            pass
    assert refused.value.setting == setting
    assert "cannot listen on" in refused.value.problem


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no address of IPv6")
def test_a_door_may_be_at_an_address_of_ipv6(online: ModuleType) -> None:
    """It was refused: the family of addresses was always the fourth version's."""
    with online._listening(ServeSettings(bundle="any", http={"host": "::1", "port": 0})) as listener:
        assert listener.getsockname()[0] == "::1"
