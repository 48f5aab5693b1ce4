from __future__ import annotations

import json

from typer.testing import CliRunner

from pipeline.cli import app


def test_the_settings_in_force_are_shown_without_secrets() -> None:
    words = [
        "bundle=b",
        "gate.group=mine",
        "kafka.bootstrap_servers=a:1",
        "kafka.sasl_plain_password=hunter2",
    ]
    said = CliRunner().invoke(
        app, ["run", "--show-settings", *(part for word in words for part in ("--set", word))]
    )
    assert said.exit_code == 0
    shown = json.loads(said.stdout)
    assert shown["gate"]["group"] == "mine"
    assert "hunter2" not in said.stdout
