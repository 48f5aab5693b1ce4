from __future__ import annotations

import json
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


def test_figures_of_scenarios_that_did_not_run_stay(tmp_path) -> None:
    result = tmp_path / "results" / "stream.json"
    machine.record(result, {"a": 1.0, "b": 2.0})
    machine.record(result, {"b": 3.00049})
    found = json.loads(result.read_text())
    assert (found["a"], found["b"]) == (1.0, 3.0)
    assert set(found["commits"]) == {"a", "b"}
