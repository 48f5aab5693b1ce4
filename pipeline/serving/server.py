"""The HTTP server of the online door: uvicorn, and what it is told.

Promises that little is held of a request's head, the line and the headers before its body, and that a caller who
does not speak HTTP is worth one line of the log. Knows no route.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import h11
import uvicorn
from fastapi import FastAPI

MAX_HEAD_BYTES = 32 << 10
"""A head of which more has come without its end is refused. What comes in one read may be more, up to 256 KiB."""


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
        http="h11",  # httptools, which uvicorn prefers, takes heads of any size; it saves 0.1 ms of a request
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=75,  # longer than load balancers keep theirs, which would meet a closed one
        timeout_graceful_shutdown=2,  # what was accepted was waited for before
    )
    return Server(config)
