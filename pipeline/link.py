"""What crosses between the keeper and the runner of one execution, and the socket that it crosses.

Each execution has a link of its own, so that nothing of an execution that is ending can reach the next. It
holds two connections: the runner's source takes claims, one by one; the runner's driver gives back what became
of them. Both ends run as the same user on one machine; the socket's folder is closed to others and a key is
asked for, because the frames are pickles. Either end sees the other's death as the end of the connection.
"""

from __future__ import annotations

import contextlib
import enum
import os
import pickle
import queue
import secrets
import socket
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import FatalError
from pipeline.records import Claim, Completed

NO_CLUSTER = 69  # EX_UNAVAILABLE
"""Exit code of a runner that found no Ray cluster: the one thing that it says by its end."""


class Role(enum.StrEnum):
    """What a connection is for; the first thing said on it."""

    CLAIMS = "claims"
    RESULTS = "results"


@dataclass(frozen=True, slots=True)
class Warm:
    """The pool has answered: a first, empty round trip through every stage is done."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A claim that could not be read now; it has to be handed out again."""

    claim: Claim
    because: str


@dataclass(frozen=True, slots=True)
class Halted:
    """A claim that the gate must not go past; the keeper stops with this error."""

    claim: Claim
    error: FatalError


Frame = Warm | Completed | Unread | Halted


@dataclass(frozen=True, slots=True)
class Address:
    """Where a link is, and the key that it asks for."""

    path: str
    key: bytes = field(repr=False)

    def connect(self, role: Role) -> Connection:
        """Open one connection; each role may be taken once per link.

        Args:
            role: What it is for.

        Returns:
            The connection; the caller closes it.

        Raises:
            OSError: The keeper is gone.
            multiprocessing.AuthenticationError: The key is wrong.
        """
        connection = Client(self.path, "AF_UNIX", authkey=self.key)
        connection.send(role)
        return connection


@dataclass(frozen=True, slots=True)
class Job:
    """What the keeper tells its runner, through standard input."""

    execution: int
    parent: int
    """Process id of the keeper."""
    address: Address
    settings: str
    """The settings, as JSON."""


class Link:
    """The keeper's end. A context manager: leaving it closes the socket and both connections."""

    def __init__(self) -> None:
        # Not under the settings' folders: a socket's path may be no longer than 107 bytes.
        self._folder = tempfile.TemporaryDirectory(prefix="sluice-")
        self.address = Address(str(Path(self._folder.name) / "link"), secrets.token_bytes(32))
        self._listener = Listener(self.address.path, "AF_UNIX", authkey=self.address.key)
        self._claims: queue.SimpleQueue[Claim | None] = queue.SimpleQueue()
        self._frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._lines: dict[Role, socket.socket] = {}
        self._ended = False
        self._closed = False
        threading.Thread(target=self._accept, name="link-accept", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def hand(self, claims: Iterable[Claim]) -> None:
        """Give claims to the runner, in order; a runner that is gone is not an error here: `take` tells.

        Never blocks: a slow runner must not hold up its keeper, which may be what the runner waits for.
        """
        for claim in claims:
            self._claims.put(claim)

    def end(self) -> None:
        """No more claims: the runner finishes what it holds and exits."""
        self._claims.put(None)

    @property
    def waiting(self) -> bool:
        """The runner has connected, and the end of what it gives back is not taken yet."""
        return Role.RESULTS in self._lines and not self._ended

    def take(self, timeout_s: float) -> list[Frame] | None:
        """What came back, waiting at most `timeout_s` for the first.

        Args:
            timeout_s: Seconds; 0 takes what is there.

        Returns:
            The frames, oldest first; None once the runner has closed its end.
        """
        if self._ended:
            return None
        frames: list[Frame] = []
        try:
            frame = self._frames.get(timeout=timeout_s)
            while frame is not None:
                frames.append(frame)
                frame = self._frames.get_nowait()
        except queue.Empty:
            return frames
        self._ended = True
        return frames or None

    def close(self) -> None:
        """Close everything; what was not taken is gone. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._claims.put(None)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as knock:
            knock.connect(self.address.path)  # closing a socket does not wake who accepts on it
        self._listener.close()
        for line in list(self._lines.values()):
            _hang_up(line)
            line.close()
        self._folder.cleanup()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection = self._listener.accept()
                role = connection.recv()
            except (OSError, EOFError, AuthenticationError):
                continue  # closed meanwhile, or the other end died as it connected
            if role in self._lines:
                # A source that Ray started again would skip what the first one handed out.
                connection.close()
                continue
            self._lines[role] = socket.socket(fileno=os.dup(connection.fileno()))
            serve = self._read if role is Role.RESULTS else self._feed
            threading.Thread(target=serve, args=(connection,), name=f"link-{role}", daemon=True).start()

    def _read(self, results: Connection) -> None:
        """In a thread of its own: a runner that stands still in the middle of a frame holds up nobody."""
        try:
            # After a frame that cannot be read the line is cut: the runner notices, and fails.
            with results, contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
                while True:
                    self._frames.put(results.recv())
        finally:
            _hang_up(self._lines[Role.RESULTS])
            self._frames.put(None)

    def _feed(self, source: Connection) -> None:
        with source, contextlib.suppress(OSError):  # the runner is gone: its claims are in the ledger
            while True:
                claim = self._claims.get()
                source.send(claim)
                if claim is None:
                    return


def _hang_up(line: socket.socket) -> None:
    """End a connection for both sides; wakes the thread that uses it."""
    with contextlib.suppress(OSError):  # the other side was first
        line.shutdown(socket.SHUT_RDWR)


def claims(address: Address) -> Iterable[Claim]:
    """The runner's source: claims as they are handed out, until the keeper ends them or dies."""
    with address.connect(Role.CLAIMS) as connection:
        while True:
            try:
                claim = connection.recv()
            except EOFError:
                return
            if claim is None:
                return
            yield claim
