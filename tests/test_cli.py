"""The program as a script meets it: help, one line per error, and exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline import cli
from pipeline.cli import app
from tests.commands.learning import bundle

ROOT = Path(__file__).parents[1]
VERBS = ["run", "status", "reconcile", "produce", "broker", "demo", "topics create", "learn threshold"]
VERBS += ["learn evaluate", "bundle verify", "bundle show", "bundle diff"]


def sluice(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)


def test_no_command_waits_for_an_engine_or_for_pandas_that_does_not_use_it() -> None:
    """pyarrow imports pandas with the first array that it builds: at import that was half of a command's start."""
    heavy = "{'pandas', 'ray', 'torch', 'transformers'}"
    program = f"import sys, pipeline.cli; print({heavy} & sys.modules.keys())"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert said.stdout == "set()\n", said.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    said = CliRunner().invoke(app, [*verb.split(), "--help"])
    assert said.exit_code == 0
    assert "Example" in said.stdout


def test_a_wrong_setting_is_one_line_that_names_it_and_its_source() -> None:
    said = sluice("run", "--set", "bundle=b", "--set", "gate.gruop=a")
    assert said.returncode == 78
    assert said.stderr.strip() == "sluice: gate.gruop: there is no such setting (from --set)"


def test_a_missing_broker_is_one_line_that_says_what_to_do() -> None:
    kafka = ["--set", "kafka.bootstrap_servers=127.0.0.1:1", "--set", "kafka.bootstrap_timeout_ms=300"]
    said = sluice("run", "--set", "bundle=b", *kafka)
    assert said.returncode == 69
    assert len(said.stderr.strip().splitlines()) == 1
    assert "127.0.0.1:1" in said.stderr
    assert "sluice broker" in said.stderr


def test_a_defect_does_not_exit_with_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It did, and a script took it for an account that does not close."""

    def broken() -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 70
    assert "nobody thought of this" in capsys.readouterr().err


def test_a_wrong_call_exits_with_two() -> None:
    assert sluice("run", "--no-such-option").returncode == 2


def test_a_bundle_that_cannot_be_used_is_one_line_that_names_it(tmp_path: Path) -> None:
    for command in (["verify"], ["show", "--json"], ["diff", str(tmp_path)]):
        said = sluice("bundle", *command, str(tmp_path))
        assert (said.returncode, said.stdout) == (65, "")
        assert said.stderr.strip() == f"sluice: bundle {tmp_path}: no sluice.json there"


def test_labels_that_cannot_be_used_are_one_line_that_names_the_file(tmp_path: Path) -> None:
    folder, path = bundle(tmp_path).path, tmp_path / "labels.parquet"
    path.write_text("none")
    said = sluice(
        "learn", "threshold", str(folder), str(path), "--traffic", str(path), "--out", str(path) + "-out"
    )
    assert said.returncode == 65
    assert len(said.stderr.strip().splitlines()) == 1
    assert str(path) in said.stderr
