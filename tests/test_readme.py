"""What the README and its companions say can be typed, and what they point at is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from pipeline.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/wire-format.md",
    "docs/bundle-format.md",
    "docs/backfill.md",
    "docs/online.md",
    "docs/operations.md",
    "docs/reliability.md",
    "docs/scaling.md",
]
README = (ROOT / "README.md").read_text()


def commands() -> list[list[str]]:
    """The arguments of every `sluice …` line in a code block."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
    lines = re.findall(r"^\.venv/bin/sluice (.*)$", blocks, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def test_the_readme_shows_commands() -> None:
    assert len(commands()) >= 5


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_a_command_of_the_readme_is_one_that_the_program_takes(arguments: list[str]) -> None:
    """It once looked for groups of a click that typer does not use any more, and so for no command at all."""
    command: Any = typer.main.get_command(app)
    while isinstance(command, TyperGroup):
        name, *arguments = arguments
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    command.make_context(command.name, arguments)  # parses every option, and runs nothing


def test_a_configuration_that_the_readme_names_is_there() -> None:
    for arguments in commands():
        if "-c" in arguments:
            assert (ROOT / arguments[arguments.index("-c") + 1]).is_file()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_a_verb_that_a_page_names_is_in_the_makefile(page: str) -> None:
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / page).read_text()
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", text, re.MULTILINE))
    named = {verb for pair in named for verb in pair if verb}
    assert named <= verbs


@pytest.mark.parametrize("page", PAGES)
def test_a_link_leads_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert "://" in target or (path.parent / target).exists(), target


def test_a_file_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for name in re.findall(r"`([\w/]+\.py)`", text):
        places = [ROOT / name, ROOT / "pipeline" / name, ROOT / "actors" / name, *ROOT.glob(f"*/*/{name}")]
        assert any(place.is_file() for place in places), name
