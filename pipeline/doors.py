"""The gate's HTTP doors: what Prometheus, an orchestrator and `sluice status` ask, and the brake's lever.

    GET  /metrics     Prometheus' text format
    GET  /healthz     200 while the keeper's loop turns, 503 once it stands still
    GET  /readyz      200 when the pool is warm and partitions are assigned, 503 with the reason until then
    GET  /status      the same facts as JSON
    POST /brake/lift  let the model prune again

Served by threads of their own; they read what `State` offers and never wait for the keeper.
"""

from __future__ import annotations

import sys
import threading
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self
from urllib.request import ProxyHandler, build_opener

import orjson

from pipeline.errors import SettingsError


class State(Protocol):
    """What the doors show; every call returns at once, from any thread."""

    def exposition(self) -> bytes:
        """The metrics, in Prometheus' text format."""

    def alive(self) -> bool:
        """Whether the loop still turns."""

    def not_ready(self) -> str | None:
        """Why no verdicts come now; None when they do."""

    def status(self) -> dict[str, Any]:
        """Facts for a person, JSON-able."""

    def lift_brake(self) -> None:
        """Ask the loop to lift the brake."""


def ask(host: str, port: int) -> dict[str, Any] | None:
    """What a gate's `/status` says; None where no gate answers. Blocks for two seconds at most."""
    # The environment may name a proxy, which does not know this machine.
    direct = build_opener(ProxyHandler({}))
    try:
        with direct.open(f"http://{host}:{port}/status", timeout=2) as answer:
            found: object = orjson.loads(answer.read())
    except (OSError, HTTPException, ValueError):
        return None
    # Another program may have the port.
    return found if isinstance(found, dict) and "not_ready" in found else None


class Doors:
    """The server. A context manager: entering it starts to listen, leaving it stops.

    Args:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        state: What to show.

    Raises:
        SettingsError: The address cannot be listened on.
    """

    def __init__(self, host: str, port: int, state: State) -> None:
        handler = type("Handler", (_Handler,), {"state": state})
        try:
            self._server = _Server((host, port), handler)
        except OSError as error:
            problem = f"cannot listen on {host}:{port}: {error.strerror}; 0 takes a free port"
            raise SettingsError("http.port", problem, "the settings") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},  # seconds that closing waits for
            name="doors",
            daemon=True,
        )

    @property
    def url(self) -> str:
        """Where the doors are."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's own types
        """Who hangs up is no news: load balancers do, every few seconds, and it was a stack trace each time."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    state: ClassVar[State]
    timeout = 10.0  # seconds; a client that says nothing must not hold a thread for ever

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                self._answer(200, self.state.exposition(), "text/plain; version=0.0.4; charset=utf-8")
            case "/healthz":
                alive = self.state.alive()
                self._answer(200 if alive else 503, b"alive\n" if alive else b"the loop stands still\n")
            case "/readyz":
                reason = self.state.not_ready()
                self._answer(503 if reason else 200, f"{reason or 'ready'}\n".encode())
            case "/status":
                self._answer(200, orjson.dumps(self.state.status()), "application/json")
            case _:
                self._answer(404, b"there is /metrics, /healthz, /readyz, /status\n")

    def do_POST(self) -> None:
        if self.path == "/brake/lift":
            self.state.lift_brake()
            self._answer(202, b"the brake will be lifted\n")
        else:
            self._answer(404, b"there is /brake/lift\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
        """Probes come every few seconds: they are no news."""

    def _answer(self, code: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
