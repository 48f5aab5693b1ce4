"""`sluice demo`: watch a gate prune a generated catalogue, on a real Kafka, a real Ray and a real model."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline import demo as the_demo
from pipeline.commands.options import Json
from pipeline.errors import GateFailed
from pipeline.kafka.jars import cache_folder

EXIT_OPEN = 1


def demo(
    *,
    candidates: Annotated[int, typer.Option(min=100, help="How many, beside the malformed ones.")] = 3000,
    out: Annotated[Path, typer.Option(help="Folder for the report and the gate's log.")] = Path("out"),
    as_json: Json = False,
) -> None:
    """Train a small bundle the first time, start Kafka, run a gate over a generated catalogue, and account for it.

    Writes `demo.json`, the gate's log and a link to the bundle into the folder. Exit code 1 when one candidate is
    missing or repeated.

    Example: `sluice demo --candidates 10000`
    """
    log = out / "demo-gate.log"
    try:
        out.mkdir(parents=True, exist_ok=True)
        log.touch()
    except OSError as error:
        raise typer.BadParameter(
            f"{out} cannot be written to: {error.strerror}", param_hint="--out"
        ) from error
    err = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("opening the bundle", total=None)

        def show(doing: str, done: int, total: int) -> None:
            progress.update(task, description=doing, completed=done, total=total)

        bundle = _bundle(out, partial(show, "training the bundle"))
        try:
            outcome = the_demo.run(bundle, candidates, on_progress=show, log=log)
        except GateFailed:
            err.print(log.read_text(errors="replace")[-4000:], markup=False, highlight=False)
            raise
    text = json.dumps(outcome.as_dict(), indent=2)
    (out / "demo.json").write_text(text + "\n")
    if as_json:
        typer.echo(text)
    else:
        _show(outcome)
    if not outcome.report.closed:
        raise typer.Exit(EXIT_OPEN)


def _bundle(out: Path, on_step: Callable[[int, int], None]) -> Path:
    """The demo's bundle, built on the first run and linked into the folder."""
    # The [train] extra, and two seconds of imports: only who trains should need it.
    from actors.learn.train import build_demo_bundle  # noqa: PLC0415

    bundle = build_demo_bundle(cache_folder() / "bundles", on_step=on_step)
    link = out / "demo-bundle"
    if link.is_symlink():
        link.unlink()
    if not link.exists():
        link.symlink_to(bundle.resolve(), target_is_directory=True)
    return bundle


def _show(outcome: the_demo.Outcome) -> None:
    console = Console()
    table = Table(title="every candidate, exactly once", show_header=False)
    for name, value in outcome.as_dict().items():
        table.add_row(name.replace("_", " "), f"{value:,}" if value is not None else "none pruned")
    console.print(table)
    for one in outcome.examples:
        console.print(
            f"pruned, score {one.score:+.2f}, known p(severe) {one.p_severe:.2f}: "
            f"[bold]{one.query}[/bold] got [bold]{one.document}[/bold]"
        )
    for example in outcome.report.examples:
        console.print(example, markup=False)
