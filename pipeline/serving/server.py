"""The HTTP server of the online door: uvicorn, and what it is told.

Promises that little is held of a request's head, the line and the headers before its body. Knows no route.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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


def server(application: FastAPI) -> Server:
    """A server of this application, which does not run yet."""
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
