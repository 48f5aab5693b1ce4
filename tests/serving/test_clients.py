"""What callers do, through a real socket: the README's lines, and a client that reads no more than it must."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import uvicorn

from actors.bundle import Bundle
from pipeline.serving import door
from pipeline.serving.service import Service
from tests.serving.local import LocalJudge, settings_for

README = (Path(__file__).parents[2] / "README.md").read_text()
REAL = {"preparer": "actors.scorer:Preparer", "scorer": "actors.scorer:Scorer"}


@pytest.fixture(scope="module")
def url(base_bundle: Bundle, one_thread: None) -> Iterator[str]:
    """A door with the real model in this process."""
    del one_thread
    settings = settings_for(base_bundle, pool=REAL)
    service = Service(LocalJudge(settings, base_bundle), base_bundle, settings)
    service.not_ready = None
    server = uvicorn.Server(
        uvicorn.Config(door.app(service), port=0, log_config=None, lifespan="off", ws="none")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_the_readme_s_lines_run(url: str, base_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    (lines,) = re.findall(r"```python\n(import requests\n.*?)```", README, re.DOTALL)
    exec(compile(lines.replace("http://127.0.0.1:8080", url), "README.md", "exec"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"(prune|review|pass) by {base_bundle.digest}", first)
    assert second.startswith("best: ")


def test_many_requests_go_over_one_connection(url: str) -> None:
    with requests.Session() as session:
        for _ in range(3):
            assert session.post(f"{url}/rerank", json={"query": "q", "texts": ["a", "b"]}, timeout=10).ok
            assert session.post(f"{url}/rerank", data=b"{", timeout=10).status_code == 400
