"""A TCP proxy in front of the brokers that knows Kafka's framing: it delays, drops and cuts, request by request.

A rule is asked about every request and every answer, and says what becomes of it. What is held is delivered late,
also when its sender has hung up meanwhile: as by a network that loses nothing and hurries nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

PRODUCE = 0
FETCH = 1
LIST_OFFSETS = 2
HEARTBEAT = 12
ADD_PARTITIONS_TO_TXN = 24
ADD_OFFSETS_TO_TXN = 25
END_TXN = 26
TXN_OFFSET_COMMIT = 28


@dataclass(frozen=True, slots=True)
class Frame:
    """A request on its way to a broker, or the answer to one."""

    api: int
    """Which request it is, or answers; Kafka's number."""
    is_answer: bool
    broker: int


class Fate(enum.Enum):
    """What becomes of a frame."""

    PASSES = "passes"
    IS_CUT = "is cut"
    """The connection ends in its place; a request that was answered so is done all the same."""
    IS_LOST = "is lost"
    """It never arrives, and the connection stays."""


Rule = Callable[[Frame], Fate | float]
"""What becomes of a frame; a number holds it for so many seconds."""


def passes(_: Frame) -> Fate:
    """The rule of a network that works."""
    return Fate.PASSES


class Proxy:
    """One port in front of each broker. A context manager.

    Args:
        ports: Where it listens, one per broker.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._targets: Sequence[int] = ()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._servers: list[asyncio.Server] = []
        self.rule: Rule = passes
        """Asked about every frame; may be replaced at any time."""
        self.delivered: list[Frame] = []
        """What was held and then delivered."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def bootstrap_servers(self) -> str:
        """Addresses for clients."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports)

    def lead_to(self, targets: Sequence[int]) -> None:
        """Listen, and pass on to these ports, one per broker."""
        self._targets = targets
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    async def _listen(self) -> None:
        for broker, port in enumerate(self._ports):

            async def serve(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, broker: int = broker
            ) -> None:
                await self._serve(broker, reader, writer)

            self._servers.append(await asyncio.start_server(serve, "127.0.0.1", port))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, broker: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._targets[broker])
        except OSError:
            writer.close()
            return
        asked: dict[int, int] = {}  # which request a correlation id belongs to
        lines = (
            self._pass_on(reader, upstream[1], asked, broker, is_answer=False),
            self._pass_on(upstream[0], writer, asked, broker, is_answer=True),
        )
        tasks = [asyncio.ensure_future(line) for line in lines]
        requests, answers = tasks
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            writer.close()
            # What is held on its way to the broker is delivered, though nobody waits for it any more.
            await requests
        finally:
            answers.cancel()
            for end in (writer, upstream[1]):
                end.close()

    async def _pass_on(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        asked: dict[int, int],
        broker: int,
        *,
        is_answer: bool,
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                size = await source.readexactly(4)
                body = await source.readexactly(struct.unpack(">i", size)[0])
                frame = Frame(_api(body, asked, is_answer=is_answer), is_answer, broker)
                fate = self.rule(frame)
                if fate is Fate.IS_CUT:
                    return
                if fate is Fate.IS_LOST:
                    continue
                if not isinstance(fate, Fate):
                    await asyncio.sleep(fate)
                    self.delivered.append(frame)
                sink.write(size + body)
                await sink.drain()


def _api(body: bytes, asked: dict[int, int], *, is_answer: bool) -> int:
    """Which request a frame is or answers; -1 where that is not known."""
    if is_answer:
        return asked.pop(struct.unpack_from(">i", body)[0], -1)
    api, _, correlation = struct.unpack_from(">hhi", body)
    asked[correlation] = api
    return int(api)
