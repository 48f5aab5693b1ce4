"""A model hub of one repository, on this machine: as much of the protocol as its client asks for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class Hub(ThreadingHTTPServer):
    """Serves the files of a folder as `owner/name` at one revision, and keeps the paths that it was asked for."""

    def __init__(self, folder: Path, repo: str, revision: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.repo, self.revision = folder, repo, revision
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        """For `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        hub, path = self.server, urlsplit(self.path).path
        hub.asked.append(path)
        files = f"/{hub.repo}/resolve/{hub.revision}/"
        names = sorted(file.name for file in hub.folder.iterdir())
        if path == f"/api/models/{hub.repo}/revision/{hub.revision}":
            about = {"id": hub.repo, "sha": hub.revision, "siblings": [{"rfilename": name} for name in names]}
            self._send(200, json.dumps(about).encode(), "application/json", body=body)
        elif path.startswith(f"/api/models/{hub.repo}/tree/{hub.revision}"):
            entries = [
                {
                    "type": "file",
                    "path": name,
                    "size": (hub.folder / name).stat().st_size,
                    "oid": hashlib.sha1((hub.folder / name).read_bytes()).hexdigest(),
                }
                for name in names
            ]
            self._send(200, json.dumps(entries).encode(), "application/json", body=body)
        elif path.startswith(files) and path.removeprefix(files) in names:
            content = (hub.folder / path.removeprefix(files)).read_bytes()
            self._send(200, content, "application/octet-stream", body=body)
        else:
            self._send(404, b"{}", "application/json", body=body)

    def _send(self, status: int, content: bytes, kind: str, *, body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.server.revision)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Standard error is the test's."""


@contextmanager
def serving(folder: Path, repo: str, revision: str) -> Iterator[Hub]:
    """A hub for as long as the block lasts."""
    with Hub(folder, repo, revision) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
