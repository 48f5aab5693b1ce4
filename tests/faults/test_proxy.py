"""The proxy does what its rule says, on frames as Kafka has them."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import END_TXN, PRODUCE, Fate, Frame, Proxy

VERSION = 3


class Echo:
    """A broker that answers each request with its correlation id, and keeps which came in which order."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.seen: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes who accepts on it
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        # Who hangs up before an answer has come resets the connection.
        with contextlib.suppress(ConnectionError), connection, connection.makefile("rwb") as stream:
            while size := stream.read(4):
                _, _, correlation = struct.unpack_from(">hhi", stream.read(struct.unpack(">i", size)[0]))
                self.seen.append(correlation)
                stream.write(struct.pack(">ii", 4, correlation))
                stream.flush()


@pytest.fixture
def broker() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(broker: Echo) -> Iterator[Proxy]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with Proxy([port]) as running:
        running.lead_to([broker.port])
        yield running


def connect(proxy: Proxy) -> socket.socket:
    host, _, port = proxy.bootstrap_servers.partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def ask(connection: socket.socket, api: int, correlation: int) -> None:
    connection.sendall(struct.pack(">ihhi", 8, api, VERSION, correlation))


def answer(connection: socket.socket) -> int | None:
    """The correlation id that comes back; None where the connection ends instead."""
    received = connection.recv(8)
    return struct.unpack(">ii", received)[1] if received else None


def test_what_the_rule_lets_pass_is_answered(proxy: Proxy) -> None:
    with connect(proxy) as client:
        ask(client, PRODUCE, 1)
        assert answer(client) == 1


def test_an_answer_is_cut_by_the_request_that_it_belongs_to(proxy: Proxy, broker: Echo) -> None:
    proxy.rule = lambda frame: Fate.IS_CUT if frame == Frame(END_TXN, True, 0) else Fate.PASSES
    with connect(proxy) as client:
        ask(client, PRODUCE, 1)
        assert answer(client) == 1
        ask(client, END_TXN, 2)
        assert answer(client) is None
    assert broker.seen == [1, 2], "it was done all the same"


def test_a_held_request_arrives_though_its_sender_has_hung_up_and_sent_it_again(
    proxy: Proxy, broker: Echo
) -> None:
    held, is_held = iter([1.0]), threading.Event()

    def rule(frame: Frame) -> Fate | float:
        if frame.is_answer:
            return Fate.PASSES
        is_held.set()
        return next(held, Fate.PASSES)

    proxy.rule = rule
    with connect(proxy) as first:
        ask(first, END_TXN, 1)
        assert is_held.wait(30)
    with connect(proxy) as second:
        ask(second, END_TXN, 2)
        assert answer(second) == 2
    deadline = time.monotonic() + 30
    while broker.seen != [2, 1]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert proxy.delivered == [Frame(END_TXN, False, 0)]


def test_what_is_lost_leaves_the_connection(proxy: Proxy, broker: Echo) -> None:
    proxy.rule = lambda frame: Fate.IS_LOST if frame.api == END_TXN else Fate.PASSES
    with connect(proxy) as client:
        ask(client, END_TXN, 1)
        ask(client, PRODUCE, 2)
        assert answer(client) == 2
    assert broker.seen == [2]
