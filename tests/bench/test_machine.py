from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench import machine


def test_the_command_is_recorded_without_the_folders_of_whoever_typed_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was kept as it was typed, with the paths of a machine in it."""
    typed = ["--bundle", "/home/me/bundles/own/", "--set=bundle=../own", "--scale", "0.5", "gates"]
    monkeypatch.setattr(sys, "argv", ["/home/me/sluice/bench/stream.py", *typed])
    command = machine.described()["command"]
    assert command.endswith(" --bundle own --set=bundle=own --scale 0.5 gates")
    assert "/" not in command


def test_a_result_that_was_written_does_not_make_the_commit_dirty(tmp_path, monkeypatch) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=me", "-c", "user.email=me@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    code, result = tmp_path / "code.py", tmp_path / "bench" / "results" / "stream.json"
    result.parent.mkdir(parents=True)
    code.write_text("1")
    result.write_text("{}")
    for command in (["init"], ["add", "."], ["commit", "-m", "all"]):
        git(*command)
    monkeypatch.chdir(tmp_path)
    clean = machine.described()["commit"]
    result.write_text("[]")
    assert machine.described()["commit"] == clean
    code.write_text("2")
    assert machine.described()["commit"] == f"{clean}-dirty"


def test_figures_of_scenarios_that_did_not_run_stay(tmp_path) -> None:
    result = tmp_path / "results" / "stream.json"
    machine.record(result, {"a": 1.0, "b": 2.0})
    machine.record(result, {"b": 3.00049})
    found = json.loads(result.read_text())
    assert (found["a"], found["b"]) == (1.0, 3.0)
    assert set(found["commits"]) == {"a", "b"}
