"""`sluice backfill`: a catalogue in Parquet or JSON lines to a folder of verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.candidate_files import Columns
from pipeline.commands.options import Config, Json, Overrides, settings_from
from pipeline.errors import SluiceError

EXIT_INTERRUPTED = 1


def backfill(  # noqa: PLR0913 - one parameter per option: typer reads the command line off the signature
    source: Annotated[
        str,
        typer.Argument(metavar="IN", help="Parquet or JSON lines: a file, folder, pattern or address."),
    ],
    folder: Annotated[str, typer.Argument(metavar="OUT", help="Folder or address for the verdicts.")],
    *,
    config: Config = None,
    overrides: Overrides = None,
    id_: Annotated[
        str, typer.Option("--id", help="Columns of the id, separated by commas.")
    ] = "candidate_id",
    query: Annotated[str, typer.Option(help="Columns of the query; several become fields.")] = "query",
    document: Annotated[str, typer.Option(help="Columns of the document; likewise.")] = "document",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with this run, if OUT holds it; do what is not done.")
    ] = False,
    previous: Annotated[
        str | None,
        typer.Option(
            help="A finished run with the same bundle: what it scored is not scored again.",
            show_default=False,
        ),
    ] = None,
    emit: Annotated[
        str | None, typer.Option(help="Send verdicts to this topic, too.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Score every candidate of a catalogue into OUT: verdicts by action, rejects with reasons, a manifest.

    After an interruption, also kill -9, `--resume` does the parts that are not done, and the rows are those of a
    run in one go. What OUT holds and what is promised: docs/backfill.md. Exit codes: 1 interrupted, 2 IN or OUT
    cannot be used and nothing was begun, 65 a file turned out damaged or changed, 69 no broker, 70 a defect, or
    the work kept failing, 75 store or broker did not answer, or Ray did not start, 77 the broker refuses us, 78
    settings or bundle.

    Example: `sluice backfill items/ out/items -c configs/local.yaml --id sku --query theme --document title,brand`

    Example: `sluice backfill s3://shop/items-2 out/items-2 -c configs/local.yaml --previous out/items --resume`
    """
    settings = settings_from(config, overrides)
    columns = Columns(*(tuple(names.split(",")) for names in (id_, query, document)))
    from pipeline import backfill as flow  # noqa: PLC0415 - Ray takes a second, for which no command need wait

    with _bar() as bar, _explained(folder, bar):
        told = flow.backfill(
            source,
            folder,
            settings,
            columns,
            wish=flow.Wish(resume=resume, previous=previous, topic=emit),
            on_progress=bar,
        )
    if as_json:
        typer.echo(json.dumps(told))
    else:
        _show(told, folder)


class _Bar:
    """Shows how many rows are done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("looking at the input", total=None)
        self.begun = False

    def __call__(self, done: int, total: int) -> None:
        self.begun = True
        self._progress.update(self._task, description="scoring", completed=done, total=total)


@contextmanager
def _bar() -> Iterator[_Bar]:
    """A bar on standard error, nothing where that is no terminal."""
    console = Console(stderr=True)
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*shown, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Bar(progress)


@contextmanager
def _explained(folder: str, bar: _Bar) -> Iterator[None]:
    """Say of what ended in the middle that it can go on."""
    console = Console(stderr=True, soft_wrap=True)
    try:
        yield
    except KeyboardInterrupt:
        console.print(f"sluice: interrupted; {_kept(folder, bar)}", style="bold red", markup=False)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except SluiceError:
        if bar.begun:
            console.print(f"sluice: {_kept(folder, bar)}", markup=False)
        raise


def _kept(folder: str, bar: _Bar) -> str:
    if not bar.begun:
        return "nothing was begun"
    return f"what is done is kept in {folder}; go on with the same call and --resume"


def _show(told: dict[str, Any], folder: str) -> None:
    console, counts = Console(soft_wrap=True, highlight=False), told["counts"]
    table = Table(title=f"{counts['rows']:,} rows")
    table.add_column("what")
    table.add_column("count", justify="right")
    for name in ("prune", "review", "pass", "rejected"):
        table.add_row(name, f"{counts[name]:,}")
    for reason, n in told["reasons"].items():
        table.add_row(f"  {reason}", f"{n:,}")
    console.print(table)
    if told["previous"] is not None:
        n_verdicts = counts["prune"] + counts["review"] + counts["pass"]
        share = counts["known"] / n_verdicts if n_verdicts else 0.0
        console.print(
            f"scored before: {counts['known']:,} of {n_verdicts:,} pairs, {share:.1%}", markup=False
        )
    per_million = told["cost"]["per_million_rows"]
    console.print(f"per million rows: {', '.join(_costs(per_million))}", markup=False)
    console.print(f"{folder}: scored with {told['bundle']}", markup=False)


def _costs(per_million: dict[str, float | None]) -> Iterator[str]:
    for name, unit in (
        ("wall_s", "s"),
        ("core_s", "core seconds"),
        ("gpu_s", "GPU seconds"),
        ("paid", "paid"),
    ):
        amount = per_million[name]
        if amount:
            yield f"{amount:,.2f} {unit}"
