"""One broker of the embedded Kafka: a Java process that is broker and controller in one, and its folder.

A `Node` writes its settings, formats its storage once, starts, stops and kills its process, and can say how
its log ends. It knows nothing of the other nodes but the addresses of their controllers, and it does not
judge whether the broker is ready: that is `embedded`'s, which asks as a client would.

The folder holds `server.properties`, `log4j2.properties`, `broker.log`, `console.log` (what the Java machine
itself says), `tmp` and the storage, `storage`.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import BrokerFailed
from pipeline.tether import tethered

# C1 alone and the serial collector: start in 2.4 s instead of 7.8 s and 330 MB instead of 400 MB resident
# (two cores, Kafka 4.4.0, Java 25). No performance file: it would stay behind in the temporary folder.
# Paths are relative to the node's folder, here and below: Java reads these files as Latin-1.
JAVA_OPTIONS = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-XX:ErrorFile=java-crash.log",
    "-Djava.io.tmpdir=tmp",
    "-Dlog4j2.configurationFile=log4j2.properties",
)

LOGGING = """\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = broker.log
appender.file.filePattern = broker.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
appender.file.policy.type = SizeBasedTriggeringPolicy
appender.file.policy.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
"""

SETTINGS = """\
process.roles=broker,controller
node.id={node_id}
controller.quorum.voters={voters}
listeners={listeners},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={advertised}
controller.listener.names=CONTROLLER
log.dirs=storage
auto.create.topics.enable=false
message.max.bytes=8388608
replica.fetch.max.bytes=8388608
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=8388608
"""
"""Fit for a laptop. Kafka's defaults would be 50 partitions for each inner topic, 128 MB for the cleaner, and
nine seconds before a broker that was killed may come back."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is. `id` counts from 0; both ports are on 127.0.0.1."""

    id: int
    folder: Path
    port: int
    """Where clients connect."""
    controller_port: int
    """Where the other nodes reach its controller."""
    further: Mapping[str, int] = field(default_factory=dict)
    """Ports of further listeners for clients, by the listener's name."""
    proxied: Mapping[str, int] = field(default_factory=dict)
    """Ports that clients of such a listener are sent to, where they are not the listener's own."""

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def listeners(self) -> str:
        """All listeners for clients, as Kafka's settings have them."""
        return _addresses({"PLAINTEXT": self.port, **self.further})

    @property
    def advertised(self) -> str:
        """Where clients of each listener are sent to, likewise."""
        return _addresses({"PLAINTEXT": self.port, **self.further, **self.proxied})


@dataclass(frozen=True, slots=True)
class Program:
    """What every node of a cluster runs."""

    java: Path
    """The Java executable."""
    jars: Path
    """The folder of Kafka's jars."""
    cluster_id: str
    """22 characters; used when a storage is formatted."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Settings of the broker, in Kafka's names, that go over `SETTINGS`."""


class Node:
    """One broker process. Not safe to use from two threads at once.

    Args:
        place: Its folder and ports.
        peers: All nodes of the cluster, this one among them.
        program: What to run.
    """

    def __init__(self, place: Place, *, peers: list[Place], program: Program) -> None:
        self.place = place
        self._peers = peers
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Format the storage if that was never done, and start the process. Does not wait for it to answer.

        Raises:
            BrokerFailed: The storage cannot be formatted.
        """
        folder = self.place.folder
        (folder / "tmp").mkdir(exist_ok=True)
        (folder / "log4j2.properties").write_text(LOGGING)
        (folder / "server.properties").write_text(self._settings())
        if not (folder / "storage" / "meta.properties").exists():
            tool = (
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={self._program.cluster_id}",
                "--config",
            )
            self._process = self._spawn(*tool, "server.properties")
            if code := self._process.wait():
                problem = f"could not format its storage (exit code {code})"
                raise BrokerFailed(self.place.id, problem, self.log_tail())
        self._process = self._spawn("kafka.Kafka", "server.properties")

    def exit_code(self) -> int | None:
        """None while the process runs; negative for the signal that ended it. 0 if it was never started."""
        return 0 if self._process is None else self._process.poll()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the broker's process group; nothing if it is over."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the process to end; False if it still runs after `timeout_s`."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def log_tail(self, n_lines: int = 12) -> str:
        """The last lines that the Java machine and the broker wrote, without stack frames."""
        lines: list[str] = []
        for name in ("console.log", "broker.log"):
            path = self.place.folder / name
            if path.exists():
                written = path.read_text("utf-8", "replace").splitlines()
                lines += [line for line in written if not line.startswith("\tat ")][-n_lines:]
        return "\n".join(lines)

    def _settings(self) -> str:
        replicas = min(3, len(self._peers))
        settings = SETTINGS.format(
            node_id=self.place.id,
            voters=",".join(f"{peer.id}@127.0.0.1:{peer.controller_port}" for peer in self._peers),
            listeners=self.place.listeners,
            advertised=self.place.advertised,
            controller_port=self.place.controller_port,
            replicas=replicas,
            in_sync=min(2, replicas),
        )
        # Of two lines with one name, Java takes the later.
        return settings + "".join(f"{name}={value}\n" for name, value in self._program.properties.items())

    def _spawn(self, *main: str) -> subprocess.Popen[bytes]:
        """Run a Java program in the node's folder, as the leader of a process group."""
        folder = self.place.folder
        java = [str(self._program.java), *JAVA_OPTIONS, "-cp", f"{self._program.jars}/*", *main]
        # Options that a person keeps for other Java programs have no business here.
        environment = {name: value for name, value in os.environ.items() if "JAVA" not in name}
        with (folder / "console.log").open("ab") as console:
            return subprocess.Popen(
                tethered(folder, *java),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=environment,
                start_new_session=True,
            )


def _addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
