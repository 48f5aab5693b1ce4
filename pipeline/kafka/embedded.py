"""A real Apache Kafka on this machine, for the demo, for tests and for a laptop; needs no Java and no Docker.

`EmbeddedKafka` starts one or several brokers on 127.0.0.1, returns when they answer a client, and stops them
as a group. It dies with the process that started it. It knows no topic of ours; whoever uses it sees nothing
but `bootstrap_servers`, as with any other Kafka. POSIX only.
"""

from __future__ import annotations

import base64
import fcntl
import os
import random
import signal
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from pipeline.errors import BrokerFailed, DataInUse, PortTaken, SettingsError
from pipeline.kafka.jars import java, kafka_jars
from pipeline.kafka.node import Node, Place, Program

FREE_PORTS = range(20_000, 32_000)
"""Below the ports that Linux and macOS give to outgoing connections: a client that keeps calling a broker
that is down must not be given the broker's own port to call from, which would connect it to itself."""


class EmbeddedKafka:
    """A cluster of combined broker and controller nodes; a context manager.

    Start, restart and stop it from one thread, and from one that lives as long as the brokers (see `tether`).

    Args:
        data: Folder to keep topics in from one start to the next; made if need be. None: a temporary one,
            removed at the end.
        n_brokers: Brokers; a data folder keeps the number that it was made with.
        port: Port of the first broker, the next ones count up from it; 0: free ones.
        start_timeout_s: How long the brokers may take to answer, in seconds.
        listeners: Names of further listeners of each broker, on free ports of their own; see `servers_of`.
            A name such as `SSL` or `SASL_PLAINTEXT` is its protocol; for another one, `properties` says it.
        advertised: Ports that clients of a further listener are sent to, one per broker, in place of the
            listener's own: a proxy's.
        properties: Settings of the brokers, in Kafka's names and as a Java properties file has them. They go
            over ours.
    """

    def __init__(
        self,
        *,
        data: Path | None = None,
        n_brokers: int = 1,
        port: int = 0,
        start_timeout_s: float = 120.0,
        listeners: Sequence[str] = (),
        advertised: Mapping[str, Sequence[int]] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        if n_brokers < 1:
            raise ValueError(f"n_brokers must be at least 1, not {n_brokers}")
        self._data = data
        self._n_brokers = n_brokers
        self._port = port
        self._start_timeout_s = start_timeout_s
        self._listeners = listeners
        self._advertised = dict(advertised or {})
        self._properties = dict(properties or {})
        self._nodes: list[Node] = []
        self._killed: set[int] = set()
        self._stack = ExitStack()

    @property
    def bootstrap_servers(self) -> str:
        """Addresses for clients, `host:port` joined by commas. The same from start to stop."""
        return ",".join(node.place.address for node in self._nodes)

    def servers_of(self, listener: str) -> str:
        """Addresses of a further listener, as `bootstrap_servers` has those of the plain one."""
        return ",".join(f"127.0.0.1:{node.place.further[listener]}" for node in self._nodes)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def kill(self, index: int) -> None:
        """End one broker as a crash would (SIGKILL) and wait until it is gone."""
        self._killed.add(index)
        self._nodes[index].send_signal(signal.SIGKILL)
        self._nodes[index].wait(self._start_timeout_s)

    def restart(self, *indices: int) -> None:
        """Start brokers again, on their old ports and data, and wait for their answers; stops them first.

        Of three brokers that are all down, two have to be started together: one alone has no quorum.

        Args:
            *indices: Which brokers, counted from 0.

        Raises:
            BrokerFailed: One did not answer in time.
        """
        nodes = [self._nodes[index] for index in indices]
        _stop(nodes)
        for node in nodes:
            node.start()
        self._killed.difference_update(indices)
        self._await_answer(nodes)

    def check(self) -> None:
        """Raise if a broker has ended that nobody killed.

        Raises:
            BrokerFailed: Names the first such broker.
        """
        for index, node in enumerate(self._nodes):
            if index not in self._killed and (code := node.exit_code()) is not None:
                raise BrokerFailed(index, f"ended by itself (exit code {code})", node.log_tail())

    def _start(self, stack: ExitStack) -> None:
        data = self._data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-kafka-")))
        data = data.expanduser().resolve()
        try:
            data.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(data))
        except OSError as error:
            raise SettingsError("data", f"cannot be written to: {error.strerror}", str(data)) from error
        places = self._places(data)
        # By the folder's name: one that was half made by a start that was cut off is completed, not mixed.
        cluster_id = base64.urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, str(data)).bytes)
        program = Program(java(), kafka_jars(), cluster_id.decode().rstrip("="), self._properties)
        self._nodes = [Node(place, peers=places, program=program) for place in places]
        self._killed.clear()
        stack.callback(_stop, self._nodes)
        for node in self._nodes:
            node.start()
        self._await_answer(self._nodes)

    def _places(self, data: Path) -> list[Place]:
        if (found := len(list(data.glob("node-*")))) not in {0, self._n_brokers}:
            raise SettingsError(
                "brokers", f"must be {found}, the number that the data was made with", str(data)
            )
        names = self._listeners
        places = [
            Place(
                index,
                data / f"node-{index}",
                port,
                controller_port,
                dict(zip(names, further, strict=True)),
                {name: ports[index] for name, ports in self._advertised.items()},
            )
            for index, (port, controller_port, *further) in enumerate(zip(*self._ports(), strict=True))
        ]
        for place in places:
            place.folder.mkdir(exist_ok=True)
        return places

    def _ports(self) -> list[list[int]]:
        """Ports for the clients, for the controllers, and for each further listener."""
        n = self._n_brokers
        given = list(range(self._port, self._port + n)) if self._port else []
        for port in given:
            if not _is_free(port):
                raise PortTaken(port)
        n_kinds = 2 + len(self._listeners)
        ports = given + _free_ports(n_kinds * n - len(given), but=given)
        return [ports[kind * n : (kind + 1) * n] for kind in range(n_kinds)]

    def _await_answer(self, nodes: list[Node]) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        for node in nodes:
            while not self._answers(node):
                if (code := node.exit_code()) is not None:
                    raise BrokerFailed(node.place.id, f"did not start (exit code {code})", node.log_tail())
                if time.monotonic() > deadline:
                    problem = f"did not answer within {self._start_timeout_s:g} s"
                    raise BrokerFailed(node.place.id, problem, node.log_tail())
                time.sleep(0.05)

    def _answers(self, node: Node) -> bool:
        """Whether this broker answers, and knows itself and all others that were not killed to be in service.

        A broker listens a moment before its controller lets it lead partitions, so a mere answer is too early.
        """
        expected = self._n_brokers - len(self._killed)
        try:
            socket.create_connection(("127.0.0.1", node.place.port), 1.0).close()
            with KafkaAdminClient(bootstrap_servers=node.place.address, bootstrap_timeout_ms=5000) as admin:
                brokers = admin.describe_cluster()["brokers"]
        except (OSError, KafkaError):
            return False
        in_service = {broker["broker_id"] for broker in brokers if not broker["is_fenced"]}
        return node.place.id in in_service and len(in_service) >= expected


def _stop(nodes: list[Node], *, grace_s: float = 10.0) -> None:
    """Ask all to stop, at the same time; kill what is still there after `grace_s`."""
    for node in nodes:
        node.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    for node in nodes:
        if not node.wait(max(0.0, deadline - time.monotonic())):
            node.send_signal(signal.SIGKILL)
            node.wait(grace_s)


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Own the data folder. The kernel holds the lock, so a file left behind by a crash stops nobody."""
    with (data / "owner.pid").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise DataInUse(str(data), int(file.read() or 0)) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Java binds: connections of an earlier broker that are still winding down do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_ports(n: int, but: list[int] | None = None) -> list[int]:
    """`n` different ports that nobody listens on, and none of `but`."""
    shuffled = random.sample(FREE_PORTS, len(FREE_PORTS))
    candidates = (port for port in shuffled if port not in (but or []) and _is_free(port))
    return [next(candidates) for _ in range(n)]
