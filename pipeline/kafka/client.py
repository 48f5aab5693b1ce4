"""The seam to kafka-python: one configuration, one network client, one translation of errors.

Everything in this package opens its clients through `open_client`, so that the user's `kafka:` mapping
reaches all of them in the same way and what Sluice promises cannot be configured away. Nothing here
knows claims, topics or positions.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import logging
import pkgutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import errors as kafka_errors
from kafka.future import Future
from kafka.net.compat import KafkaNetClient
from kafka.net.selector import NetworkSelector

from pipeline.errors import BrokerRefused, BrokerUnreachable, SettingsError, TransientError
from pipeline.kafka.connections import Connections
from pipeline.kafka.defaults import DEFAULTS
from pipeline.kafka.security import check_security

logger = logging.getLogger(__name__)

C = TypeVar("C")

MAX_REQUEST_BYTES = 1 << 20
"""Largest message that a producer takes by default; just below what a broker does (`message.max.bytes`)."""

_CLIENTS = (KafkaConsumer, KafkaProducer, KafkaAdminClient)
_ANYONE = frozenset().union(*(client.DEFAULT_CONFIG for client in _CLIENTS))
# Objects rather than plain values: they cannot come out of YAML, nor go to another process.
_OBJECTS = frozenset({"kafka_client", "metric_reporters", "selector", "socket_options", "ssl_context"})
_METRICS = frozenset({"metrics_num_samples", "metrics_sample_window_ms"})
ALLOWED = frozenset.intersection(*(frozenset(c.DEFAULT_CONFIG) for c in _CLIENTS)) - _OBJECTS - _METRICS
"""The settings that every kind of client knows, and that are the user's to choose."""

NO_LEADER = -1
"""What the library has in the place of the broker that leads a partition; None where it has not heard of it."""

_NOT_READY_S = 0.1
"""How long whoever asks whether a broker is ready waits for a No."""

_TRANSACTIONAL = frozenset(
    {
        "InitProducerIdRequest",
        "AddPartitionsToTxnRequest",
        "AddOffsetsToTxnRequest",
        "TxnOffsetCommitRequest",
        "EndTxnRequest",
    }
)

TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)
"""What the broker says of a batch that its topic does not take."""

_UNREACHABLE = (ConnectionError, TimeoutError, socket.gaierror)
_REFUSALS = (
    kafka_errors.AuthorizationError,
    kafka_errors.IllegalSaslStateError,
    kafka_errors.IncompatibleBrokerVersion,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.SecurityDisabledError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.UnsupportedVersionError,
)


class SluiceKafkaClient(KafkaNetClient):  # type: ignore[misc]  # kafka-python carries no types
    """kafka-python's network client, able to outlive a broker's death and to say what it does not know.

    Args:
        in_doubt: Set when a transactional request ended without an answer. The library sends it again,
            and the first one may still arrive, in the middle of the *next* transaction: the producer has
            to be built anew, which fences whatever is still on its way.
        **configs: As kafka-python gives them.
    """

    def __init__(self, *, in_doubt: threading.Event | None = None, **configs: Any) -> None:
        net = NetworkSelector(**configs)
        self.connections = Connections(net, **configs)
        super().__init__(net=net, manager=self.connections)
        self._in_doubt = in_doubt or threading.Event()

    def await_ready(self, node_id: int, timeout_ms: float = 30_000) -> bool:
        """Whether the node can be sent to. "Not ready" is an answer, never an exception.

        The library raises here where its sender expects False; the sender then drops the transactional
        request that it was about to send, and the transaction waits for it for ever.
        """
        try:
            return bool(super().await_ready(node_id, timeout_ms=timeout_ms))
        except kafka_errors.KafkaError as error:
            logger.info("broker %s is not ready: %s", node_id, describe(error))
            # The library knows no pause after a connection that was taken and closed at once, as a proxy does
            # whose broker is away: its sender asked, and we logged, as fast as they could. One that is only busy,
            # with five requests under way, is not to be kept from its answers: all of them come by this thread.
            if not self.connected(node_id):
                time.sleep(_NOT_READY_S)
            return False

    def send(self, node_id: int, request: object, **kwargs: Any) -> Future:
        """Send, and take note when a transactional request ends without an answer."""
        future = super().send(node_id, request, **kwargs)
        # A request that failed at once was never on its way.
        if type(request).__name__ in _TRANSACTIONAL and not future.is_done:
            future.add_errback(functools.partial(self._note_unanswered, type(request).__name__))
        return future

    def close(self, node_id: int | None = None) -> None:
        """Close the connection to a node, or all of them and the event loop."""
        super().close(node_id)
        if node_id is None:
            self.connections.hang_up()

    def _note_unanswered(self, request: str, error: BaseException) -> None:
        logger.warning(
            "%s ended without an answer (%s): its outcome is in doubt, and another producer is built before the "
            "next transaction",
            request,
            describe(error),
        )
        self._in_doubt.set()


def connection(kafka: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that all clients share: the user's settings over `DEFAULTS`.

    Args:
        kafka: The `kafka:` mapping of the settings, in kafka-python's names; must hold
            `bootstrap_servers`. `sasl_oauth_token_provider` is a class by name: `package.module:Class`.

    Returns:
        Keyword arguments that every kind of kafka-python client accepts.

    Raises:
        SettingsError: A key is missing, unknown, mistyped, or Sluice's own to set; or what it names cannot be
            used, see `security`.
    """
    if not kafka.get("bootstrap_servers"):
        raise SettingsError("kafka.bootstrap_servers", "is missing; such as localhost:9092", "kafka")
    for key, value in kafka.items():
        _check(key, value)
    check_security(kafka)
    config = {**DEFAULTS, **kafka}
    if provider := config.get("sasl_oauth_token_provider"):
        config["sasl_oauth_token_provider"] = _load_provider(provider)
    if version := config.get("api_version"):
        config["api_version"] = tuple(version)
    return config


def servers(kafka: Mapping[str, Any]) -> str:
    """The bootstrap addresses, as one word for messages."""
    addresses = kafka.get("bootstrap_servers", "")
    return addresses if isinstance(addresses, str) else ",".join(addresses)


def open_client(
    kind: Callable[..., C],
    kafka: Mapping[str, Any],
    *,
    in_doubt: threading.Event | None = None,
    **own: Any,
) -> C:
    """Open a kafka-python client; returns once a broker has answered.

    Args:
        kind: `KafkaConsumer`, `KafkaProducer` or `KafkaAdminClient`.
        kafka: See `connection`.
        in_doubt: See `SluiceKafkaClient`.
        **own: What this one client needs; what a user may set too is theirs.

    Returns:
        The client, with its threads running; the caller closes it.

    Raises:
        BrokerUnreachable: No broker answered within `bootstrap_timeout_ms`, or an address is none.
        BrokerRefused: One answered, and refuses us.
        SettingsError: See `connection`; or the library finds the combination impossible.
        TransientError: This machine has no socket to give.
    """
    config = connection(kafka)
    warn_without_crc32c()
    networks: list[SluiceKafkaClient] = []

    def network(**configs: Any) -> SluiceKafkaClient:
        networks.append(SluiceKafkaClient(in_doubt=in_doubt, **configs))
        return networks[-1]

    opened = False
    try:
        client = kind(**{**own, **config}, kafka_client=network)
        opened = True
    except (kafka_errors.KafkaTimeoutError, kafka_errors.MetadataEmptyBrokerList, *_UNREACHABLE) as error:
        waited_s = config["bootstrap_timeout_ms"] / 1000
        trouble = networks[-1].connections.trouble if networks else describe(error)
        raise BrokerUnreachable(servers(kafka), waited_s, trouble) from error
    except OSError as error:
        raise TransientError(f"connecting to {servers(kafka)}", describe(error)) from error
    except (kafka_errors.KafkaConfigurationError, ValueError) as error:
        raise SettingsError("kafka", describe(error), "the settings") from error
    except kafka_errors.KafkaError as error:
        why = networks[-1].connections.explained(error) if networks else describe(error)
        raise BrokerRefused(servers(kafka), why) from error
    finally:
        if not opened:
            for left_open in networks:
                left_open.close()
    return client


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the library's errors into ours.

    Args:
        doing: What is being done, for the message.

    Raises:
        BrokerRefused: The broker says that we may not.
        TransientError: Anything else that the library raises.
    """
    try:
        yield
    except _REFUSALS as error:
        raise BrokerRefused(doing, describe(error)) from error
    except kafka_errors.KafkaError as error:
        raise TransientError(doing, describe(error)) from error


def describe(error: BaseException) -> str:
    """One line for an error of the library, whose text is often empty."""
    said = " ".join(str(error).split())
    name = type(error).__name__
    return said if said.startswith(name) else f"{name}: {said}" if said else name


@functools.cache
def warn_without_crc32c() -> None:
    """Say once, aloud, when checksums are computed in Python: ten times slower (see docs)."""
    if importlib.util.find_spec("crc32c") is None:
        logger.warning("the package crc32c is missing: Kafka clients will be ten times slower; install it")


def _check(key: str, value: object) -> None:
    """Refuse a setting that is not the user's, not known, or of the wrong type."""
    setting = f"kafka.{key}"
    if key not in ALLOWED:
        if key in _ANYONE:
            raise SettingsError(setting, "is not yours to set: Sluice sets it, or does without it", "kafka")
        near = difflib.get_close_matches(key, ALLOWED, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingsError(setting, f"is not a setting of the Kafka client{hint}", "kafka")
    _check_list(setting, value)
    default = KafkaConsumer.DEFAULT_CONFIG[key]
    for kind, name in ((bool, "true or false"), (int, "a whole number")):
        if type(default) is kind and type(value) is not kind:
            raise SettingsError(setting, f"must be {name}, not {value!r}", "kafka")


def _check_list(setting: str, value: object) -> None:
    """What the library looks into without asking what it is."""
    ones = value if isinstance(value, list | tuple) else [value]
    if setting == "kafka.bootstrap_servers" and not all(isinstance(one, str) for one in ones):
        raise SettingsError(setting, f"must be addresses, such as localhost:9092, not {value!r}", "kafka")
    numbered = ones is value and all(type(one) is int for one in ones)
    if setting == "kafka.api_version" and not (value is None or numbered):
        raise SettingsError(
            setting, f"must be a list of whole numbers, such as [3, 9], not {value!r}", "kafka"
        )


def _load_provider(name: object) -> object:
    """The token provider that a setting names, built without arguments."""
    setting = "kafka.sasl_oauth_token_provider"
    if not isinstance(name, str):
        raise SettingsError(setting, "must name a class, as package.module:Class", "kafka")
    try:
        return pkgutil.resolve_name(name)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise SettingsError(setting, f"{name!r} cannot be loaded: {error}", "kafka") from error
