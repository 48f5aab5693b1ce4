"""The HTTP server of the online door: uvicorn, and what it is told.

Promises that little is held of a request's head, the line and the headers before its body, and not for long; that
who was answered does not stay by sending on; and that one who does not speak HTTP is worth one line of the log.
Knows no route.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEAD_BYTES = 32 << 10
"""A head of which more has come without its end is refused. What comes in one read may be more, up to 256 KiB."""

KEEP_S = 75
"""How long a connection may be silent between requests: longer than load balancers keep theirs, which would meet a
closed one."""
HEAD_S = 30
"""How long a head may take, from its first byte to its end; also the rest of a body that nobody reads any more."""


class Connection(H11Protocol):
    """uvicorn's; it waits for ever for a head, and for the rest of what it has answered already."""

    _over: asyncio.TimerHandle | None = None
    _begun = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller is there, and says nothing yet."""
        super().connection_made(transport)
        self._end_in(KEEP_S)

    def data_received(self, data: bytes) -> None:
        """A piece of a request. While the application reads or answers it, time is the application's business."""
        super().data_received(data)
        idle = self.conn.their_state is h11.IDLE
        answered = self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE
        begun = answered or (idle and bool(self.conn.trailing_data[0]))
        if begun and not self._begun:
            self._end_in(HEAD_S)
        elif not begun:
            self._end_in(KEEP_S if idle else None)
        self._begun = begun

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller is gone."""
        self._end_in(None)
        super().connection_lost(exc)

    def _end_in(self, seconds: float | None) -> None:
        if self._over is not None:
            self._over.cancel()
        self._over = (
            None if seconds is None else self.loop.call_later(seconds, self.timeout_keep_alive_handler)
        )


class Server(uvicorn.Server):
    """uvicorn, whose signals are ours: its own handling ends the process by the signal, not with 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


class _OneLine(logging.Filter):
    """uvicorn fails, with its stack, to refuse what is no HTTP where an answer has begun already."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass, of such a failure without the stack."""
        if record.exc_info and isinstance(record.exc_info[1], h11.LocalProtocolError):
            record.msg, record.args, record.exc_info = "the rest of a request was not HTTP", (), None
        return True


_ONE_LINE = _OneLine()


def server(application: FastAPI) -> Server:
    """A server of this application, which does not run yet."""
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(_ONE_LINE)  # a second time it has no effect
    config = uvicorn.Config(
        application,
        http=Connection,  # by h11: httptools, which uvicorn prefers, takes heads of any size; it saves 0.1 ms each
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=KEEP_S,
        timeout_graceful_shutdown=2,  # what was accepted was waited for before
    )
    return Server(config)
