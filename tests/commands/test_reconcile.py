"""`sluice reconcile` reports, and a script can tell by its exit code whether the account closed."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from pipeline.commands.produce import produce
from pipeline.commands.reconcile import reconcile
from pipeline.settings import load
from tests.small_gate import settle

pytestmark = pytest.mark.kafka


def run(sets: list[str], *arguments: str):
    app = typer.Typer()
    app.command("produce")(produce)
    app.command("reconcile")(reconcile)
    options = [word for one in sets for word in ("--set", one)]
    return CliRunner().invoke(app, [*arguments, *options])


def test_a_sound_gate_closes_with_zero_and_a_broken_one_with_one(sets):
    assert run(sets, "produce", "--catalogue", "40", "--malformed", "0.1").exit_code == 0
    settle(load(None, sets))

    said = run(sets, "reconcile", "--json")
    assert said.exit_code == 0, said.output
    report = json.loads(said.stdout)
    assert report["closed"] is True
    assert report["candidates"] == report["pass"] + report["rejected"] == 44
    assert report["missing"] == report["repeated"] == report["unexpected"] == report["pending"] == 0
    assert "not closed" not in run(sets, "reconcile").stdout

    settle(load(None, sets))
    broken = run(sets, "reconcile")
    assert broken.exit_code == 1
    assert "not closed" in broken.stdout
    assert "repeated: input-" in broken.stdout


def test_everything_that_was_not_committed_is_missing_when_all_is_asked_for(sets):
    run(sets, "produce", "--catalogue", "10")
    pending = json.loads(run(sets, "reconcile", "--json").stdout)
    assert (pending["candidates"], pending["pending"]) == (0, 10)
    whole = run(sets, "reconcile", "--json", "--to-end", "--start", "0=4")
    assert whole.exit_code == 1
    assert json.loads(whole.stdout)["missing"] == 6


@pytest.mark.parametrize("option", ["--start", "--end"])
@pytest.mark.parametrize("place", ["four", "0=four", "0=1=2"])
def test_a_place_that_is_none_is_a_wrong_call(option, place):
    said = run(["bundle=b", "kafka.bootstrap_servers=127.0.0.1:1"], "reconcile", option, place)
    assert said.exit_code == 2
    assert "PARTITION=OFFSET" in said.output


@pytest.mark.parametrize("option", ["--start", "--end"])
def test_a_partition_that_is_named_twice_is_a_wrong_call(option):
    """The last one counted, and nobody was told."""
    said = run(["bundle=b", "kafka.bootstrap_servers=127.0.0.1:1"], "reconcile", option, "0=1", option, "0=2")
    assert said.exit_code == 2
    assert "once" in said.output


def test_help_shows_an_example():
    assert "sluice reconcile -c configs/local.yaml --run 2" in run([], "reconcile", "--help").output
