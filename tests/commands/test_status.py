from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import SettingsError
from pipeline.metrics import Metrics
from pipeline.settings import load
from pipeline.view import View
from tests.small_gate import settle

pytestmark = pytest.mark.kafka


def sluice(sets: list[str], *arguments: str):
    options = [part for one in [*sets, "http.port=1"] for part in ("--set", one)]
    return CliRunner().invoke(app, [*arguments, *options])


def test_the_lag_is_reported_and_a_script_can_tell_by_the_exit_code(sets: list[str]) -> None:
    assert sluice(sets, "produce", "--catalogue", "30").exit_code == 0
    behind = sluice(sets, "status", "--json", "--max-lag", "29")
    assert behind.exit_code == 1
    assert json.loads(behind.stdout)["lag"] == 30

    settle(load(None, sets))
    caught_up = sluice(sets, "status", "--json", "--max-lag", "0")
    assert caught_up.exit_code == 0
    (partition,) = json.loads(caught_up.stdout)["partitions"].values()
    assert partition["committed"] == 30
    assert partition["lag"] == 0


def test_what_is_committed_beyond_the_end_hides_no_lag(sets: list[str]) -> None:
    """The lag of a partition that was made anew was negative, and made up for that of others."""
    settings = load(None, sets)
    assert sluice(sets, "produce", "--catalogue", "30").exit_code == 0
    settle(settings, commit={0: 90})
    told = json.loads(sluice(sets, "status", "--json").stdout)
    assert told["lag"] == 0


@pytest.mark.parametrize(("drain_s", "told"), [(90.4, "its lag is gone in 90 s"), (None, "not drained")])
def test_the_lag_is_told_as_the_time_that_the_gate_takes(
    sets: list[str], monkeypatch: pytest.MonkeyPatch, drain_s: float | None, told: str
) -> None:
    gate = {"ready": True, "mode": "enforce", "run": 1, "records_per_s": 50.0, "drain_s": drain_s}
    gate |= {"in_flight": 8, "bundle": {"digest": "sha256:0"}, "counts": {"pass_": 3}}
    monkeypatch.setattr("pipeline.doors.ask", lambda host, port: gate)
    assert told in sluice(sets, "status").stdout


def test_a_gate_that_only_starts_is_said(sets: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended in a KeyError, for as long as the gate had not joined its group."""
    facts = View(Metrics(), stands_still_s=60.0).status()
    monkeypatch.setattr("pipeline.doors.ask", lambda host, port: facts)
    said = sluice(sets, "status")
    assert said.exit_code == 0
    assert "gate: not ready, starting" in said.stdout


def test_a_topic_that_there_is_not_has_no_lag_to_be_told(sets: list[str]) -> None:
    """It was a lag of nothing, so that a script which waited for a group to be drained went on at once."""
    said = sluice([*sets, "topics.input=nowhere"], "status", "--max-lag", "0")
    assert isinstance(said.exception, SettingsError)
    assert "no topic 'nowhere'" in str(said.exception)


def test_a_group_may_be_named_as_it_likes(sets: list[str]) -> None:
    """Brackets in its name are no orders to the table, which ended in a MarkupError."""
    assert "group a[/b]" in sluice([*sets, "gate.group='a[/b]'"], "status").stdout


@pytest.mark.parametrize("command", [["status"], ["offsets", "show"]])
def test_in_a_narrow_terminal_no_name_and_no_number_is_cut_off(
    sets: list[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """Of a long name 80 columns left the beginning alone, and of an offset its first digits."""
    monkeypatch.setenv("COLUMNS", "40")
    said = sluice(sets, *command)
    assert said.exit_code == 0, said.output
    assert "…" not in said.stdout


def test_a_gate_that_does_not_answer_is_said(sets: list[str]) -> None:
    said = sluice(sets, "status")
    assert said.exit_code == 0
    assert "no gate answers" in said.stdout
