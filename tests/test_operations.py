"""The runbook is complete: each exit code, alarm and metric is in it, and what it names is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
import yaml
from typer.core import TyperGroup

from actors.bundle import Bundle
from pipeline import cli, errors
from pipeline.metrics import Metrics
from pipeline.serving import errors as serving_errors
from pipeline.serving.service import Service
from pipeline.serving.settings import ServeSettings
from pipeline.settings import Settings
from tests.fakes import stand_in_bundle

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operations.md").read_text()
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "alarms.yaml").read_text())["groups"]
    for rule in group["rules"]
]
SUFFIXES = ("_bucket", "_sum", "_count")


def entries(begin: str) -> set[str]:
    """The runbook's entries whose name begins so."""
    return {name for name in re.findall(r"^### (.+)$", PAGE, re.MULTILINE) if name.startswith(begin)}


def exit_codes() -> set[int]:
    """Those that our errors have, and those that the command line adds."""
    kinds = [
        kind
        for module in (errors, serving_errors)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, errors.FatalError)
    ]
    return {kind.exit_code for kind in kinds} | {cli.EXIT_DATA, cli.EXIT_TRANSIENT}


def test_every_exit_code_is_in_the_table_and_has_its_entry() -> None:
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert table == exit_codes() | {0, 1, 130, 137}
    assert entries("Exit") == {f"Exit {code}" for code in exit_codes() if code > 2}


def test_every_alarm_has_its_entry_and_every_entry_its_alarm() -> None:
    assert entries("Sluice") == {rule["alert"] for rule in RULES}
    assert all(
        rule["annotations"]["summary"] and rule["labels"]["severity"] in {"page", "ticket"} for rule in RULES
    )


def exposed(bundle: Bundle) -> set[str]:
    """The series of a gate and of a door."""

    class Nobody:
        async def judge(self, candidates: Any) -> Any:
            raise NotImplementedError

    door = Service(Nobody(), bundle, ServeSettings(bundle=str(bundle.path))).metrics
    text = (Metrics().exposition() + door.exposition()).decode()
    return {
        name for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE) if not name.endswith("_created")
    }


def test_every_metric_is_named_and_every_name_is_a_metric(tmp_path: Path) -> None:
    known = exposed(stand_in_bundle(tmp_path))
    tables = set(re.findall(r"sluice_[a-z_]+", PAGE.partition("## Metrics")[2]))
    assert tables == known
    assert set(re.findall(r"sluice_[a-z_]+", PAGE)) == known
    of_rules = {name for rule in RULES for name in re.findall(r"sluice_[a-z_]+", rule["expr"])}
    assert {_family(name) for name in of_rules} <= known


def _family(series: str) -> str:
    for suffix in SUFFIXES:
        series = series.removesuffix(suffix)
    return series


def settings() -> Iterator[str]:
    for kind in (Settings, ServeSettings):
        for name, field in kind.model_fields.items():
            for inner, one in getattr(field.annotation, "model_fields", {}).items():
                yield f"{name}.{one.alias or inner}"


def test_every_setting_that_is_named_is_one() -> None:
    known = set(settings())
    sections = {name.partition(".")[0] for name in known}
    named = {one for one in re.findall(r"`([a-z]+\.[a-z_]+)`", PAGE) if one.partition(".")[0] in sections}
    assert len(named) > 15
    assert named <= known


def test_every_command_that_is_named_is_one() -> None:
    program = typer.main.get_command(cli.app)
    assert isinstance(program, TyperGroup)
    for line in set(re.findall(r"`sluice ([^`]+)`", PAGE)):
        command, *words = line.split()
        assert command in program.commands, line
        found = program.commands[command]
        if isinstance(found, TyperGroup):
            found = found.commands[words[0]]
        options = {name for option in found.params for name in option.opts}
        assert {word for word in words if word.startswith("--")} <= options, line
