"""The Serve config of deploy/kuberay/online.yaml, deployed by Serve itself on a Ray of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from actors.bundle import Bundle
from tests.fakes import stand_in_bundle
from tests.ports import free_port

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[1]
TOKEN = {"Authorization": "Bearer let-me-in"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return stand_in_bundle(tmp_path_factory.mktemp("stand-in"))


@pytest.fixture(scope="module")
def url(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where Serve's proxy answers, once verdicts come."""
    folder = tmp_path_factory.mktemp("proxied")
    manifests = yaml.safe_load_all((ROOT / "deploy" / "kuberay" / "online.yaml").read_text())
    (service,) = [one for one in manifests if one["kind"] == "RayService"]
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    port = free_port()
    config["http_options"] = {"host": "127.0.0.1", "port": port}
    (application,) = config["applications"]
    application["args"] |= {
        "bundle": str(bundle.path),
        "pool": {
            "prepare_actors": 1,
            "cpus_per_replica": 0.5,
            "cpus_per_prepare": 0.25,
            "preparer": "tests.fakes:PoisonPreparer",
            "scorer": "tests.fakes:PoisonScorer",
        },
    }
    written = folder / "serve.yaml"
    written.write_text(yaml.safe_dump(config))
    log = folder / "log"
    with log.open("wb") as sink:
        serve = subprocess.Popen(
            [sys.executable, "-m", "ray.serve.scripts", "run", str(written), "--address", "local"],
            stdout=sink,
            stderr=sink,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "SLUICE_TOKEN": "let-me-in"},
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 300
        while not _ready(address):
            said = log.read_text(errors="replace")[-4000:]
            assert serve.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.5)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(serve.pid, signal.SIGTERM)
        try:
            serve.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(serve.pid, signal.SIGKILL)
            serve.wait(60)


def _ready(address: str) -> bool:
    try:
        return requests.get(f"{address}/readyz", timeout=10).ok
    except requests.RequestException:  # the proxy listens before there is a door
        return False


def test_verdicts_come_through_the_proxy(url: str, bundle: Bundle) -> None:
    candidates = [{"candidate_id": f"c-{n}", "query": "q", "document": str(n)} for n in (250, 150, 50)]
    answer = requests.post(f"{url}/v1/score", json={"candidates": candidates}, headers=TOKEN, timeout=60)
    assert [one["action"] for one in answer.json()["verdicts"]] == ["prune", "review", "pass"]
    assert answer.headers["Sluice-Bundle"] == bundle.digest


def test_a_stranger_is_asked_for_the_token_and_a_refusal_is_the_door_s(url: str) -> None:
    assert requests.post(f"{url}/v1/score", json={"candidates": []}, timeout=60).status_code == 401
    said = requests.post(f"{url}/v1/score", data=b"{", headers=TOKEN, timeout=60)
    assert (said.status_code, said.json()["error_type"]) == (400, "Validation")


def test_what_is_measured_is_told(url: str) -> None:
    text = requests.get(f"{url}/metrics", headers=TOKEN, timeout=60).text
    assert "sluice_online_ready 1.0" in text.splitlines()
