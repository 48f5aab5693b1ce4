"""The library's connections, watched: why none comes about is kept, and told as soon as it is final.

The library tries again whatever went wrong, a wrong password as a broker that restarts, and in the end reports
that none answered in time. It reaches into kafka-python 3.0.12 for that, and is tested against a secured broker.
"""

from __future__ import annotations

import functools
import logging
import ssl
import weakref
from typing import Any

from kafka import errors as kafka_errors
from kafka.net.connection import KafkaConnection
from kafka.net.inet import create_connection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

logger = logging.getLogger(__name__)

Received = tuple[bytes, BaseException | None]

_FINAL = (
    kafka_errors.AuthorizationError,
    kafka_errors.IllegalSaslStateError,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
)
_CUT_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""TLS ended without a word: by a port that speaks none, and by a broker that is shutting down."""


class Connections(KafkaConnectionManager):  # type: ignore[misc]  # kafka-python carries no types
    """kafka-python's connection manager, which can say why there is no connection.

    Where each of the bootstrap servers refuses us in a way that trying again does not mend, the bootstrap ends
    at once with that error. Later on the library's retries are left alone, and what is final is logged.

    Args:
        net: The library's event loop.
        **configs: As kafka-python gives them.
    """

    def __init__(self, net: NetworkSelector, **configs: Any) -> None:
        super().__init__(net, **configs)
        self.trouble = ""
        """Why the latest connection failed that was not just out of time, if one was not; empty if none failed."""
        self._watched: dict[object, KafkaConnection] = {}
        self._refusals: dict[object, BaseException] = {}
        self._transports: weakref.WeakSet[KafkaTCPTransport] = weakref.WeakSet()

    def get_connection(self, node_id: object, **options: Any) -> KafkaConnection:
        """The connection to a node, which may still be coming about; as the library has it.

        Args:
            node_id: The broker, or a bootstrap server.
            **options: As kafka-python gives them.

        Returns:
            The connection; to be awaited.

        Raises:
            KafkaError: The library's; for a bootstrap server also the refusal of all of them.
        """
        if self._refusals and self.cluster.is_bootstrap(node_id):
            named = {broker.node_id for broker in self.cluster.bootstrap_brokers()}
            if named <= self._refusals.keys():
                raise self._refusals[node_id]
        connection = super().get_connection(node_id, **options)
        if connection is not self._watched.get(node_id):
            self._watched[node_id] = connection
            connection.init_future.add_callback(lambda _: self._refusals.pop(node_id, None))
            connection.close_future.add_errback(functools.partial(self._note, node_id, connection))
        return connection

    def hang_up(self) -> None:
        """Close what is left open once the event loop has ended: the library leaves what it had yet to write."""
        for transport in list(self._transports):
            if transport._sock is not None:  # noqa: SLF001 - see the module
                transport._sock.close()  # noqa: SLF001

    def explained(self, error: BaseException) -> str:
        """An error of the library's that ended a connection, in words that name the settings.

        Args:
            error: What the connection ended with.

        Returns:
            Half a sentence.
        """
        tls = _tls_error(error)
        if tls is not None and not isinstance(tls, _CUT_OFF):
            return _of_tls(tls)
        if isinstance(error, kafka_errors.SaslAuthenticationFailedError):
            return str(error.args[0]).removeprefix(f"{type(error).__name__}: ") if error.args else str(error)
        if isinstance(error, kafka_errors.UnsupportedSaslMechanismError):
            return f"it does not offer the SASL mechanism {self.config['sasl_mechanism']}"
        if isinstance(error, kafka_errors.IllegalSaslStateError):
            return f"it expects another kafka.security_protocol than {self.config['security_protocol']}"
        if isinstance(error, kafka_errors.InvalidReceiveError):
            return f"what it answers is no Kafka; {self._suspicion}"
        return " ".join(str(error).split()) or type(error).__name__

    @property
    def _suspicion(self) -> str:
        return f"is {self.config['security_protocol']} the kafka.security_protocol of that port?"

    def _note(self, node_id: object, connection: KafkaConnection, error: BaseException) -> None:
        """Keep why a connection ended."""
        why = self.explained(error)
        if _is_final(error, connection):
            self._refusals[node_id] = error
            if why != self.trouble and not self.cluster.is_bootstrap(node_id):
                logger.warning("broker %s does not let us connect, and is asked again: %s", node_id, why)
        elif _hung_up(error, connection):
            why = f"the connection was closed at once; {self._suspicion}"
        if not (self.trouble and _out_of_time(error)):
            self.trouble = why

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> KafkaTCPTransport:  # noqa: ANN401
        """Connect, and agree on TLS; as the library does it, but closed when that fails."""
        options, proxy = self.config["socket_options"], self.config["proxy_url"]
        socket = await create_connection(
            self._net, node.host, node.port, options, proxy_url=proxy, timeout_at=timeout_at
        )
        if not self.ssl_enabled:
            plain = _Plain(self._net, socket, host=node.host)
            self._transports.add(plain)
            return plain
        files = {name: value for name, value in self.config.items() if name.startswith("ssl_")}
        transport = _Secure(self._net, socket, host=node.host, **files)
        self._transports.add(transport)
        agreed = False
        try:
            await transport.agree(timeout_at)
            agreed = True
        except (OSError, kafka_errors.KafkaError) as error:
            raise kafka_errors.KafkaConnectionError("the TLS handshake failed") from error
        finally:
            if not agreed:
                transport.close()
        return transport


class _Plain(KafkaTCPTransport):  # type: ignore[misc]  # kafka-python carries no types
    def _sock_recv(self) -> Received:
        return _data_first(super()._sock_recv())


class _Secure(KafkaSSLTransport):  # type: ignore[misc]  # kafka-python carries no types
    def _sock_recv(self) -> Received:
        return _data_first(super()._sock_recv())

    async def agree(self, timeout_at: float | None) -> None:
        """The handshake, within the time that a connection may take; the library's has no limit."""
        while True:
            try:
                self._sock.do_handshake()
            except ssl.SSLWantReadError:
                await self._net.wait_read(self._sock, timeout_at=timeout_at)
            except ssl.SSLWantWriteError:
                await self._net.wait_write(self._sock, timeout_at=timeout_at)
            else:
                return


def _data_first(received: Received) -> Received:
    """Data that came together with the end of the connection, which is met again by the next read.

    The library drops such data, and that is how a broker answers a wrong password.
    """
    data, error = received
    return data, None if data else error


def _is_final(error: BaseException, connection: KafkaConnection) -> bool:
    """Whether trying again would end in the same way."""
    if isinstance(error, kafka_errors.InvalidReceiveError):
        return not connection.init_future.succeeded()
    tls = _tls_error(error)
    return isinstance(error, _FINAL) or (tls is not None and not isinstance(tls, _CUT_OFF))


def _out_of_time(error: BaseException) -> bool:
    """Whether the connection was given up: the last one of a bootstrap may be, as soon as it is begun."""
    kinds = (kafka_errors.KafkaTimeoutError, kafka_errors.RequestTimedOutError)
    return isinstance(error, kinds) or isinstance(error.__cause__, kinds)


def _hung_up(error: BaseException, connection: KafkaConnection) -> bool:
    """Whether the other side took the connection, and closed it without a word."""
    taken = connection.parser is not None or isinstance(error.__cause__, OSError)
    return taken and isinstance(error, kafka_errors.KafkaConnectionError)


def _of_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not trusted: {error.verify_message.rstrip('.')}"
    return f"TLS failed: {error.reason or error}"


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    """What TLS said, if it was TLS: packed into the library's error by it, or by our handshake."""
    found = (fact for fact in (*error.args, error.__cause__) if isinstance(fact, ssl.SSLError))
    return next(found, None)
