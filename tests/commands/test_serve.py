"""The command line of the online door; what it does once it runs is in `tests/test_online.py`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.bundle import Bundle
from pipeline.cli import app
from pipeline.errors import FatalError

ROOT = Path(__file__).parents[2]


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=170,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        check=False,
    )


def test_the_settings_in_force_are_shown_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_TOKEN", "secret")
    arguments = ["serve", "--show-settings", "--set", "bundle=b", "--set", "http.port=1"]
    shown = CliRunner().invoke(app, arguments).output
    assert json.loads(shown)["http"]["port"] == 1
    assert "secret" not in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "bundle=/nowhere"], "/nowhere"),
        (["--set", "bundle=b", "--set", "nope=1"], "nope: there is no such setting"),
        (["-c", "nowhere.yaml"], "cannot read the file"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_started(arguments: list[str], said: str) -> None:
    refused = CliRunner().invoke(app, ["serve", *arguments]).exception
    assert isinstance(refused, FatalError)
    assert refused.exit_code == 78
    assert said in str(refused)


def test_help_names_the_exit_codes() -> None:
    text = " ".join(CliRunner().invoke(app, ["serve", "--help"]).output.split())
    for part in ("SLUICE_TOKEN", "69", "78", "/v1/score"):
        assert part in text


@pytest.mark.slow
def test_a_taken_port_is_refused_by_the_name_of_its_setting(base_bundle: Bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = serve("--set", f"bundle={base_bundle.path}", "--set", f"http.port={taken.getsockname()[1]}")
    assert ended.returncode == 78
    assert "http.port: cannot listen on" in ended.stderr


@pytest.mark.slow
def test_a_cluster_that_is_not_there_ends_the_door_in_one_line(base_bundle: Bundle) -> None:
    sets = (f"bundle={base_bundle.path}", "http.port=0", "ray.address=127.0.0.1:1", "scaling.start_s=2")
    ended = serve(*(part for one in sets for part in ("--set", one)))
    assert ended.returncode == 69, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "no replica was warm within 2 s" in ended.stderr
