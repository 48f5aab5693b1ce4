"""Options that several commands share, and how they become settings and logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actors.errors import ExtraMissing
from pipeline.errors import SettingsError
from pipeline.kafka.client import connection
from pipeline.settings import Settings, load

if TYPE_CHECKING:
    from pipeline.learn_settings import LearnSettings

EXIT_NOTHING_PROMISED = 1
"""Of a command that made a bundle whose thresholds promise nothing."""

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="YAML file with the settings.", show_default=False),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting, as dotted.name=value; may be repeated.", show_default=False),
]
LabelFiles = Annotated[
    list[Path] | None,
    typer.Argument(help="Labels, Parquet or JSON lines; by default labels.paths.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Report as JSON on standard output.")]


def settings_from(config: Path | None, overrides: list[str] | None) -> Settings:
    """Read the settings, see `settings.load`, and check those of the Kafka client, see `client.connection`.

    Args:
        config: What `--config` named.
        overrides: What each `--set` gave.

    Returns:
        The settings, checked and frozen.

    Raises:
        SettingsError: A file, name or value is wrong.
    """
    settings = load(config, overrides or ())
    try:
        connection(settings.kafka)
    except SettingsError as error:
        raise settings.refuse(error.setting, error.problem) from error
    return settings


@contextmanager
def train_extra() -> Iterator[None]:
    """Wraps imports of what only the `train` extra installs, so that a command which needs it says so.

    Yields:
        Nothing.

    Raises:
        ExtraMissing: A module is not there.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraMissing("train", str(error.name)) from error


def label_paths(given: Sequence[Path] | None, settings: LearnSettings, *, hint: str) -> tuple[Path, ...]:
    """The files of labels, as the command line or the settings name them.

    Args:
        given: What the argument gave.
        settings: With those that are read otherwise.
        hint: Name of the argument, for an error.

    Returns:
        At least one.

    Raises:
        BadParameter: Neither names one.
    """
    paths = tuple(given or settings.labels.paths)
    if not paths:
        raise typer.BadParameter("name a file of labels, or set labels.paths", param_hint=hint)
    return paths


def accepted_kinds(accept: Sequence[str], settings: LearnSettings) -> set[str]:
    """The kinds of problems that may pass, each the name of one. Needs the `train` extra.

    Args:
        accept: What each `--accept` gave.
        settings: With those that are always accepted.

    Returns:
        Names of `problems.Kind`.

    Raises:
        BadParameter: `--accept` gave no kind.
        SettingsError: `labels.accept` holds no kind.
    """
    from actors.learn.problems import Kind  # noqa: PLC0415

    known = {kind.value for kind in Kind}
    problem = f"no such kind of problem; there are {', '.join(sorted(known))}"
    if not known.issuperset(accept):
        raise typer.BadParameter(problem, param_hint="--accept")
    if not known.issuperset(settings.labels.accept):
        raise settings.refuse("labels.accept", problem)
    return {*accept, *settings.labels.accept}


def log_to_stderr(level: int = logging.INFO) -> None:
    """One line per event on standard error; the client library's own noise is left out."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    # kafka-python logs each try of each lost connection as an error; what it means for the gate, the gate says.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
