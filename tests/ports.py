"""Ports for what is started later, by another process."""

from __future__ import annotations

import contextlib
import random
import socket

from pipeline.kafka.embedded import FREE_PORTS


def free_port() -> int:
    """One that nobody listens on, of those that the system gives to nobody who asks for any."""
    while True:
        port = random.choice(FREE_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
