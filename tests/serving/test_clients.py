"""What callers do, through a real socket: the README's lines, and a client that reads no more than it must."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from actors.bundle import Bundle
from pipeline.serving import door
from pipeline.serving import server as serving
from pipeline.serving.server import MAX_HEAD_BYTES, server
from pipeline.serving.service import Service
from tests.serving.local import LocalJudge, settings_for

README = (Path(__file__).parents[2] / "README.md").read_text()
REAL = {"preparer": "actors.scorer:Preparer", "scorer": "actors.scorer:Scorer"}


@pytest.fixture(scope="module")
def url(base_bundle: Bundle, one_thread: None) -> Iterator[str]:
    """A door with the real model in this process."""
    del one_thread
    settings = settings_for(base_bundle, pool=REAL)
    service = Service(LocalJudge(settings, base_bundle), base_bundle, settings)
    service.not_ready = None
    http = server(door.app(service))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=asyncio.run, args=(http.serve([listener]),))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        http.should_exit = True
        thread.join()


def caller(url: str) -> socket.socket:
    """A connection to the door."""
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def test_the_readme_s_lines_run(url: str, base_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    (lines,) = re.findall(r"```python\n(import requests\n.*?)```", README, re.DOTALL)
    exec(compile(lines.replace("http://127.0.0.1:8080", url), "README.md", "exec"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"(prune|review|pass) by {base_bundle.digest}", first)
    assert second.startswith("best: ")


def test_many_requests_go_over_one_connection(url: str) -> None:
    with requests.Session() as session:
        for _ in range(3):
            assert session.post(f"{url}/rerank", json={"query": "q", "texts": ["a", "b"]}, timeout=60).ok
            assert session.post(f"{url}/rerank", data=b"{", timeout=60).status_code == 400


def test_a_head_without_an_end_is_refused_once_it_is_large(url: str) -> None:
    """Headers were taken at any size, and held."""
    begin = b"GET /healthz HTTP/1.1\r\nHost: door\r\nX-Long: "
    room = MAX_HEAD_BYTES - len(begin)
    with caller(url) as within:
        within.sendall(begin + b"x" * (room - 4))
        within.sendall(b"\r\n\r\n")
        assert within.recv(99).startswith(b"HTTP/1.1 200 ")
    with caller(url) as beyond:
        beyond.sendall(begin + b"x" * (room + 1))
        assert beyond.recv(99).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("rest", [b"no chunk\r\n", b"1;" + b"x" * MAX_HEAD_BYTES])
def test_what_is_no_http_is_told_in_one_line_though_an_answer_was_given(
    url: str, rest: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It put uvicorn's stack into the log, as often as a stranger liked."""
    begin = b"POST /nothing HTTP/1.1\r\nHost: door\r\nTransfer-Encoding: chunked\r\n\r\n"
    for pieces in ((begin + rest,), (begin, rest)):
        with caller(url) as stranger:
            answer = b""
            for piece in pieces:
                stranger.sendall(piece)
                answer += stranger.recv(999)
            assert answer.startswith(b"HTTP/1.1 40")
            while stranger.recv(999):
                pass
    assert "the rest of a request was not HTTP" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"", b""),
        (b"GET /healthz HTTP/1.1\r\nHost: door\r\nX-Slow: ", b"x"),
        (b"POST /nothing HTTP/1.1\r\nHost: door\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["silent", "head", "answered"],
)
def test_a_connection_that_is_held_without_a_request_is_closed(
    url: str, first: bytes, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sent a byte now and then, or none, kept it for ever, with no token: the door ran out of them."""
    monkeypatch.setattr(serving, "KEEP_S", 0.5)
    monkeypatch.setattr(serving, "HEAD_S", 0.5)
    with caller(url) as stranger:
        stranger.sendall(first)
        stranger.settimeout(0.05)
        closed, until = False, time.monotonic() + 30
        while not closed and time.monotonic() < until:
            try:
                stranger.sendall(piece)
                closed = not stranger.recv(999)
            except TimeoutError:
                continue
            except OSError:
                closed = True
        assert closed


def test_a_body_may_take_longer_than_a_head_and_who_was_answered_may_ask_again_later(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HEAD_S", 1.0)
    body = b'{"candidates": []}'
    head = b"POST /v1/score HTTP/1.1\r\nHost: door\r\nContent-Length: %d\r\n\r\n" % len(body)
    with caller(url) as slow:
        for _ in range(2):
            slow.sendall(head + body[:9])
            time.sleep(1.5)
            slow.sendall(body[9:])
            answer = b""
            while not answer.endswith(b'"verdicts":[]}'):
                answer += slow.recv(9999) or pytest.fail("the door has closed the connection")
            assert answer.startswith(b"HTTP/1.1 200 ")
            time.sleep(1.5)
