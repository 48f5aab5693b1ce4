"""`sluice learn train`: from labels to a bundle, with its promise."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from actors.learn.evaluate import titled
from pipeline.commands.options import (
    EXIT_NOTHING_PROMISED,
    Config,
    Json,
    Overrides,
    accepted_kinds,
    train_extra,
)

if TYPE_CHECKING:
    from pipeline.training import Trained

_SHOWN = 5
"""Judges that are named one by one."""
_STAGES = {"teacher": "imitating the teacher", "labels": "learning from labels"}


def train(
    *,
    out: Annotated[Path, typer.Option(help="New folder for the bundle.")],
    config: Config = None,
    overrides: Overrides = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            help="A kind of problem that the audit found, to let pass; may be repeated.", show_default=False
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune, calibrate, set thresholds, evaluate, and write a bundle: all of it, or none.

    The roles of clusters (train, dev, map, threshold, test) are drawn once and recorded. The audit comes first:
    what blocks has to be mended or accepted. Exit code 1 when nothing can be promised: the bundle then prunes
    nothing, and it says how many labelled clusters a promise would take.

    Example: `sluice learn train -c configs/train.yaml --set labels.paths='[labels.parquet]' --out bundles/one`
    """
    with train_extra():
        from pipeline.learn_settings import load_learn  # noqa: PLC0415
        from pipeline.training import train as make  # noqa: PLC0415
    settings = load_learn(config, overrides or ())
    accepted = accepted_kinds(accept or (), settings)
    with _bars() as on_stage:
        done = make(settings, out, accept=accepted, resume=resume, on_stage=on_stage)
    if as_json:
        typer.echo(json.dumps(done.to_json(), allow_nan=False))
    else:
        _show(done)
    if not done.finished.decision.promised:
        raise typer.Exit(EXIT_NOTHING_PROMISED)


@contextmanager
def _bars() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """A bar for each stage, on standard error; the one before is over when the next begins."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True))

    def on_stage(name: str) -> Callable[[int, int], None]:
        _close(progress)
        progress.start()
        task = progress.add_task(_STAGES.get(name, name), total=None)

        def on_step(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        return on_step

    try:
        yield on_stage
        _close(progress)
    finally:
        if progress.tasks:
            progress.stop()


def _close(progress: Progress) -> None:
    """Say of a stage whose end is not reached why there is no more of it."""
    for task in progress.tasks[-1:]:
        if task.total is None:
            progress.update(task.id, description=f"{task.description}: done before", total=0)
        elif task.completed < task.total:
            said = f"{task.description}: no longer better, ended early"
            progress.update(task.id, description=said)
            progress.stop_task(task.id)


def _show(done: Trained) -> None:
    console, finished = Console(soft_wrap=True, highlight=False), done.finished
    decision = finished.decision
    console.print(decision.said, style="bold" if decision.promised else "bold red", markup=False)
    for said in _left_out(done.fitted.judges_left_out):
        console.print(said, style="red", markup=False)
    if finished.evaluation is not None:
        table = Table(title="on the role test, which nothing was learned from")
        table.add_column("what")
        table.add_column(Text("value [interval]"), justify="right")
        for name, estimate in titled(finished.evaluation.figures):
            table.add_row(name, Text(str(estimate)))
        console.print(table)
    if done.cost is not None:
        cost = done.cost
        table = Table(title=f"student less teacher, on {cost.n_pairs:,} pairs")
        table.add_column("what")
        table.add_column(Text("difference [interval]"), justify="right")
        for name, difference in titled(cost.differences):
            table.add_row(name, Text(str(difference)))
        table.add_row("parameters", f"{cost.n_parameters:,} of {cost.n_parameters_teacher:,}")
        console.print(table)
    console.print(f"{finished.bundle.path}: {finished.bundle.digest}", markup=False)


def _left_out(judges: Mapping[str, str]) -> Iterator[str]:
    from actors.learn.listing import one_line  # noqa: PLC0415

    for name, why in itertools.islice(judges.items(), _SHOWN):
        yield f"judge {one_line(name) or 'without a name'} was left out, nothing was learned from it: {why}"
    if len(judges) > _SHOWN:
        yield f"{len(judges) - _SHOWN} further judges were left out"
