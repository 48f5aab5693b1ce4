from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from pipeline.doors import Doors
from pipeline.doors import ask as gate_at
from pipeline.errors import SettingsError
from pipeline.metrics import Metrics
from pipeline.view import View


@pytest.fixture
def state() -> View:
    return View(Metrics(), stands_still_s=60.0)


@pytest.fixture
def doors(state: View) -> Iterator[Doors]:
    with Doors("127.0.0.1", 0, state) as opened:
        yield opened


def ask(doors: Doors, path: str, method: str = "GET") -> tuple[int, str]:
    connection = HTTPConnection(doors.url.removeprefix("http://"), timeout=60)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_ready_says_why_not_until_it_is(doors: Doors, state: View) -> None:
    assert ask(doors, "/readyz") == (503, "starting\n")
    state.show({"not_ready": None, "records": 0, "lag": 0})
    assert ask(doors, "/readyz") == (200, "ready\n")


def test_health_follows_the_loop(doors: Doors, state: View) -> None:
    assert ask(doors, "/healthz")[0] == 200
    state._turned_at -= 3600
    assert ask(doors, "/healthz")[0] == 503


def test_status_is_what_the_keeper_showed(doors: Doors, state: View) -> None:
    state.show({"not_ready": None, "records": 3, "lag": 0, "group": "a"})
    code, body = ask(doors, "/status?pretty")
    assert code == 200
    assert json.loads(body)["group"] == "a"


@pytest.mark.parametrize("body", [b"[]", b'{"status": "ok"}', b"7", b"no JSON"])
def test_another_program_at_the_port_is_no_gate(
    doors: Doors, state: View, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """`sluice status` ended in a KeyError where somebody else had the port, as it may once the gate is gone."""
    port = int(doors.url.rpartition(":")[2])
    assert gate_at("127.0.0.1", port) == state.status()
    monkeypatch.setattr("pipeline.doors.orjson.dumps", lambda _: body)
    assert gate_at("127.0.0.1", port) is None


def test_a_gate_is_asked_without_the_proxy_of_the_environment(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `http_proxy` set, no gate answered to `sluice status`, nor to `sluice demo`, which waited for it."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert gate_at("127.0.0.1", int(doors.url.rpartition(":")[2])) is not None


def test_metrics_are_in_the_text_format(doors: Doors) -> None:
    code, body = ask(doors, "/metrics")
    assert code == 200
    assert "# TYPE sluice_commits_total counter" in body


def test_the_lever_is_pulled_by_post_alone(doors: Doors, state: View) -> None:
    assert ask(doors, "/brake/lift")[0] == 404
    assert not state.take_lift()
    assert ask(doors, "/brake/lift", "POST")[0] == 202
    assert state.take_lift()


def test_an_unknown_door_says_which_there_are(doors: Doors) -> None:
    code, body = ask(doors, "/metricz")
    assert (code, "/metrics" in body) == (404, True)
    assert ask(doors, "/nowhere", "POST")[0] == 404


def test_a_client_that_says_nothing_holds_up_nobody(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.doors._Handler.timeout", 300.0)
    address = doors.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=5):
        assert ask(doors, "/healthz")[0] == 200


def test_a_client_that_hangs_up_is_no_news(doors: Doors, capfd: pytest.CaptureFixture[str]) -> None:
    """A health check of a load balancer connects and resets: each wrote a stack trace to the log."""
    address = doors.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=5) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert ask(doors, "/healthz")[0] == 200, "which comes after it"
    time.sleep(0.1)
    assert capfd.readouterr().err == ""


def test_a_taken_port_is_refused_by_the_name_of_its_setting(doors: Doors, state: View) -> None:
    port = int(doors.url.rpartition(":")[2])
    with pytest.raises(SettingsError) as refused:
        Doors("127.0.0.1", port, state)
    assert refused.value.setting == "http.port"


def test_the_port_is_free_again_afterwards(state: View) -> None:
    with Doors("127.0.0.1", 0, state) as first:
        port = int(first.url.rpartition(":")[2])
    with Doors("127.0.0.1", port, state) as second:
        assert ask(second, "/healthz")[0] == 200
