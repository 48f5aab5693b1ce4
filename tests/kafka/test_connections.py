"""What ends a connection is told in words; nothing that the broker said is lost, and nothing waits for ever."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.net.selector import NetworkSelector

from pipeline.errors import BrokerUnreachable
from pipeline.kafka.client import open_client
from pipeline.kafka.connections import Connections
from tests.threads import none_is_left_but


@pytest.fixture
def connections() -> Iterator[Connections]:
    net = NetworkSelector()
    watched = Connections(net, security_protocol="SASL_SSL", sasl_mechanism="PLAIN")
    yield watched
    watched.close()
    net.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def alert(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (kafka_errors.KafkaConnectionError(alert("BAD_CERTIFICATE")), "TLS failed: BAD_CERTIFICATE"),
        (kafka_errors.UnsupportedSaslMechanismError(), "it does not offer the SASL mechanism PLAIN"),
        (kafka_errors.IllegalSaslStateError(), "it expects another kafka.security_protocol than SASL_SSL"),
        (
            kafka_errors.SaslAuthenticationFailedError("SaslAuthenticationFailedError: Invalid username"),
            "Invalid username",
        ),
        (
            kafka_errors.InvalidReceiveError("352518912"),
            "what it answers is no Kafka; is SASL_SSL the kafka.security_protocol of that port?",
        ),
        (kafka_errors.KafkaConnectionError("111 ECONNREFUSED"), "KafkaConnectionError: 111 ECONNREFUSED"),
        (AttributeError(), "AttributeError"),
    ],
)
def test_what_ended_a_connection_is_told_in_words(connections, error, words):
    assert connections.explained(error) == words


def test_a_connection_that_the_deadline_cut_off_does_not_hide_why_those_before_it_failed(connections):
    """The last try is under way when the time is over, and on a slow machine that was all that was told."""
    failed = kafka_errors.KafkaConnectionError("111 ECONNREFUSED")
    handshake = kafka_errors.KafkaConnectionError("the TLS handshake failed")
    handshake.__cause__ = kafka_errors.KafkaTimeoutError()
    for error in (failed, kafka_errors.RequestTimedOutError("after 40 ms"), handshake):
        connections._note("bootstrap-0", SimpleNamespace(parser=None), error)
    assert connections.trouble == "KafkaConnectionError: 111 ECONNREFUSED"


@pytest.mark.parametrize("kafka", [{"security_protocol": "SSL"}, {}], ids=["tls", "plain"])
def test_a_port_that_never_answers_is_given_up(silent: str, kafka: dict[str, Any]):
    """The library waited for the end of a TLS handshake for ever."""
    began, threads = time.monotonic(), threading.enumerate()
    with pytest.raises(BrokerUnreachable, match=r"within 2 s \(.*(TLS handshake failed|timed out)"):
        open_client(KafkaAdminClient, {"bootstrap_servers": silent, "bootstrap_timeout_ms": 2000, **kafka})
    assert time.monotonic() - began < 60
    assert none_is_left_but(threads)


@pytest.mark.parametrize("kafka", [{"security_protocol": "SSL"}, {}], ids=["tls", "plain"])
def test_a_port_that_hangs_up_is_suspected_of_another_protocol(kafka: dict[str, Any]):
    protocol = kafka.get("security_protocol", "PLAINTEXT")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            try:
                while True:
                    server.accept()[0].close()
            except OSError:
                return

        thread = threading.Thread(target=hang_up)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        try:
            with pytest.raises(BrokerUnreachable, match=f"is {protocol} the kafka.security_protocol of that"):
                open_client(
                    KafkaAdminClient, {"bootstrap_servers": address, "bootstrap_timeout_ms": 2000, **kafka}
                )
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_broker_that_is_not_there_is_suspected_of_nothing():
    nowhere = {"bootstrap_servers": "127.0.0.1:1", "bootstrap_timeout_ms": 2000}
    with pytest.raises(BrokerUnreachable, match=r"\(KafkaConnectionError: \d+ ECONNREFUSED\)"):
        open_client(KafkaAdminClient, nowhere)
