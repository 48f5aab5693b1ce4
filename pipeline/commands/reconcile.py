"""`sluice reconcile`: whether every candidate that was read ended, exactly once."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline.account import Report
from pipeline.commands.options import Config, Json, Overrides, settings_from
from pipeline.reconcile import reconcile_topics

EXIT_OPEN = 1


def reconcile(
    *,
    config: Config = None,
    overrides: Overrides = None,
    run: Annotated[
        int | None, typer.Option(min=0, help="Run number; by default gate.run.", show_default=False)
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(
            help="PARTITION=OFFSET to begin at, for a gate that began there; may be repeated.",
            show_default=False,
        ),
    ] = None,
    end: Annotated[
        list[str] | None,
        typer.Option(
            help="PARTITION=OFFSET to end before, for a run that ended there; may be repeated.",
            show_default=False,
        ),
    ] = None,
    to_end: Annotated[
        bool, typer.Option(help="Account for all of the input, not only for what the group committed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read the input topic against the outputs: missing, repeated, unexpected, out of order.

    Everything below the group's committed offsets is accounted for, by offset and row, within one run number;
    what lies beyond is pending. Exit code 1 when the account does not close, 2 for a place that there is not.

    Example: `sluice reconcile -c configs/local.yaml --run 2`
    """
    starts, ends = _places(start, "--start"), _places(end, "--end")
    settings = settings_from(config, overrides)
    report = reconcile_topics(settings, run=run, start=starts, end=ends, to_end=to_end)
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        _show(report)
    if not report.closed:
        raise typer.Exit(EXIT_OPEN)


def _places(texts: list[str] | None, option: str) -> dict[int, int]:
    said = ", ".join(map(repr, texts or ()))
    try:
        places = {
            int(partition): int(offset) for partition, offset in (text.split("=") for text in texts or ())
        }
    except ValueError as error:
        raise typer.BadParameter(f"write each as PARTITION=OFFSET, not {said}", param_hint=option) from error
    if len(places) < len(texts or ()):
        raise typer.BadParameter(f"name each partition once, not {said}", param_hint=option)
    return places


def _show(report: Report) -> None:
    console = Console(soft_wrap=True, highlight=False)
    said = report.as_dict()
    table = Table(title="closed" if report.closed else "not closed")
    for column in ("what", "count"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, count in said.items():
        if isinstance(count, int) and name != "closed":
            table.add_row(name.replace("_", " "), f"{count:,}")
    console.print(table)
    for example in report.examples:
        console.print(example, markup=False)
