"""The seam to kafka-python: what may be set, what is shown, and which error becomes which."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import socket
import threading
import time
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka import errors as kafka_errors
from kafka.future import Future
from kafka.net.compat import KafkaNetClient
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.protocol.producer import EndTxnRequest, ProduceRequest

from pipeline.errors import BrokerRefused, BrokerUnreachable, SettingsError, TransientError
from pipeline.kafka import client
from pipeline.kafka.client import SluiceKafkaClient, connection, open_client, translated
from pipeline.kafka.defaults import DEFAULTS
from tests.threads import none_is_left_but

NOWHERE: dict[str, Any] = {"bootstrap_servers": "127.0.0.1:1", "bootstrap_timeout_ms": 300}


class Provider(AbstractTokenProvider):
    """Named by a setting below."""

    def token(self) -> str:
        return "token"


def test_the_users_settings_go_over_ours():
    config = connection(
        {"bootstrap_servers": ["a:1", "b:2"], "metadata_max_age_ms": 5, "api_version": [3, 9]}
    )

    assert config["bootstrap_servers"] == ["a:1", "b:2"]
    assert config["metadata_max_age_ms"] == 5
    assert config["reconnect_backoff_max_ms"] == 1_000
    assert config["api_version"] == (3, 9)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("group_id", "mine", "is not yours to set"),
        ("isolation_level", "read_uncommitted", "is not yours to set"),
        ("enable_auto_commit", True, "is not yours to set"),
        ("transactional_id", "mine", "is not yours to set"),
        ("kafka_client", object, "is not yours to set"),
        ("ssl_cafil", "ca.pem", "did you mean ssl_cafile?"),
        ("nonsense", 1, "is not a setting of the Kafka client"),
        ("request_timeout_ms", "15s", "must be a whole number, not '15s'"),
        ("request_timeout_ms", True, "must be a whole number, not True"),
        ("ssl_check_hostname", "no", "must be true or false, not 'no'"),
        ("sasl_oauth_token_provider", "no.such:Thing", "cannot be loaded"),
        # From here on each ended in a traceback.
        ("sasl_oauth_token_provider", "os:environ", "cannot be loaded"),
        ("bootstrap_servers", 9092, "must be addresses, such as localhost:9092, not 9092"),
        ("bootstrap_servers", ["a:1", None], "must be addresses"),
        ("api_version", 3, "must be a list of whole numbers"),
        ("api_version", "3.9", "must be a list of whole numbers"),
    ],
)
def test_a_setting_that_is_not_the_users_or_is_mistyped_is_named(key, value, problem):
    with pytest.raises(SettingsError) as caught:
        connection({"bootstrap_servers": "a:1", key: value})

    assert caught.value.setting == f"kafka.{key}"
    assert problem in caught.value.problem


def test_the_address_is_required():
    with pytest.raises(SettingsError, match=r"kafka\.bootstrap_servers: is missing"):
        connection({})


def test_a_token_provider_is_loaded_by_its_name(monkeypatch):
    monkeypatch.setitem(vars(logging), "Provider", Provider)

    config = connection({"bootstrap_servers": "a:1", "sasl_oauth_token_provider": "logging:Provider"})

    assert config["sasl_oauth_token_provider"].token() == "token"


def test_every_setting_that_is_allowed_is_known_to_every_client():
    for kind in (KafkaConsumer, KafkaProducer):
        assert kind.DEFAULT_CONFIG.keys() >= client.ALLOWED
    assert DEFAULTS.keys() <= client.ALLOWED


@pytest.mark.parametrize(
    ("raised", "ours"),
    [
        (kafka_errors.KafkaTimeoutError("late"), TransientError),
        (kafka_errors.NotLeaderForPartitionError(), TransientError),
        (kafka_errors.TopicAuthorizationFailedError({"t"}), BrokerRefused),
        (kafka_errors.SaslAuthenticationFailedError("no"), BrokerRefused),
    ],
)
def test_the_librarys_errors_become_ours(raised, ours):
    with pytest.raises(ours, match=rf"doing it: {type(raised).__name__}") as caught, translated("doing it"):
        raise raised

    assert caught.value.__cause__ is raised


def test_an_address_where_nobody_answers_is_named_and_nothing_is_left_running():
    before = threading.enumerate()

    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1 within 0\.3 s"):
        open_client(KafkaConsumer, NOWHERE, group_id=None)

    assert none_is_left_but(before)


@pytest.mark.parametrize(
    ("raised", "ours"),
    [
        (ConnectionRefusedError(111, "Connection refused"), BrokerUnreachable),
        (socket.gaierror(-2, "Name or service not known"), BrokerUnreachable),
        (OSError(24, "Too many open files"), TransientError),
    ],
)
def test_what_the_system_refuses_is_no_mistake_in_the_settings(raised: OSError, ours: type[Exception]):
    """Each ended the gate as a wrong setting, with no second try."""

    def opening(**_: object) -> None:
        raise raised

    with pytest.raises(ours) as caught:
        open_client(opening, NOWHERE)
    assert caught.value.__cause__ is raised


def test_settings_that_the_library_finds_impossible_are_refused():
    with pytest.raises(SettingsError, match=r"request_timeout_ms"):
        open_client(KafkaConsumer, {**NOWHERE, "request_timeout_ms": 10}, fetch_max_wait_ms=500)


def test_a_node_that_is_not_ready_is_an_answer():
    """The library raises, and its sender then drops the transactional request that it holds."""
    network = SluiceKafkaClient(bootstrap_servers="127.0.0.1:1")
    [bootstrap] = network.cluster.bootstrap_brokers()

    for node in (bootstrap.node_id, 99):
        with pytest.raises(kafka_errors.KafkaError):
            KafkaNetClient.await_ready(network, node, timeout_ms=200)
        begun = time.monotonic()
        assert network.await_ready(node, timeout_ms=200) is False
        assert time.monotonic() - begun < 20, "less than the library's own patience"
    network.close()


def test_a_proxy_whose_broker_is_away_is_not_asked_as_fast_as_can_be():
    """It takes each connection and closes it at once, after which the library does not wait: its sender asked
    again, and we logged, without a pause."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        taken: list[float] = []

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    proxy.accept()[0].close()
                    taken.append(time.monotonic())

        threading.Thread(target=take, daemon=True).start()
        network = SluiceKafkaClient(bootstrap_servers=f"127.0.0.1:{proxy.getsockname()[1]}")
        [bootstrap] = network.cluster.bootstrap_brokers()
        began = time.monotonic()
        while time.monotonic() < began + 0.5 or not taken:
            assert not network.await_ready(bootstrap.node_id, timeout_ms=200)
        network.close()
        assert len(taken) <= 20 * (time.monotonic() - began)


@pytest.mark.parametrize(
    ("request_type", "answered_at_once", "doubt"),
    [(EndTxnRequest, False, True), (EndTxnRequest, True, False), (ProduceRequest, False, False)],
)
def test_a_transactional_request_without_an_answer_is_noted(
    monkeypatch, request_type, answered_at_once, doubt
):
    """One that failed before it was sent is in no doubt; batches are numbered, and need no note."""
    error, answer, in_doubt = kafka_errors.KafkaConnectionError("gone"), Future(), threading.Event()
    if answered_at_once:
        answer.failure(error)
    monkeypatch.setattr(KafkaNetClient, "send", lambda self, node_id, request: answer)
    network = SluiceKafkaClient(bootstrap_servers="127.0.0.1:1", in_doubt=in_doubt)

    network.send(0, request_type())
    assert not in_doubt.is_set()
    if not answered_at_once:
        answer.failure(error)

    assert in_doubt.is_set() is doubt
    network.close()


def test_checksums_in_python_are_warned_of(monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with caplog.at_level(logging.WARNING):
        client.warn_without_crc32c.__wrapped__()

    assert "crc32c is missing" in caplog.text
