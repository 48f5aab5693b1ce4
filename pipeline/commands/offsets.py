"""`sluice offsets`: where a group stands, and a replay from another place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline import offsets
from pipeline.commands.options import Config, Json, Overrides, settings_from
from pipeline.kafka import group as groups
from pipeline.offsets import Reset, Target
from pipeline.records import TopicPartition
from pipeline.settings import Settings

app = typer.Typer(name="offsets", help="Where a group stands; a replay.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Where a group stands; a replay."""


@app.command()
def show(*, config: Config = None, overrides: Overrides = None, as_json: Json = False) -> None:
    """Show what the group has committed, to where it may read, who is in it, its run number and its brake.

    Example: `sluice offsets show -c configs/local.yaml`
    """
    settings = settings_from(config, overrides)
    found = offsets.standings(settings)
    members = groups.members(settings.kafka, settings.gate.group)
    if as_json:
        partitions = {
            str(source): {
                "committed": one.committed,
                "earliest": one.extent.earliest,
                "end": one.extent.last_stable,
                "high_watermark": one.extent.high_watermark,
                "lag": one.lag,
                **one.note._asdict(),
            }
            for source, one in found.items()
        }
        report = {"group": settings.gate.group, "members": members, "run": offsets.run_of(found)}
        typer.echo(json.dumps({**report, "partitions": partitions}))
        return
    table = _table(settings, "partition", "earliest", "committed", "end", "lag", "run", "brake")
    for source, one in found.items():
        committed = "none" if one.committed is None else f"{one.committed:,}"
        numbers = f"{one.extent.earliest:,}", committed, f"{one.extent.last_stable:,}", f"{one.lag:,}"
        table.add_row(str(source), *numbers, str(one.note.run), "on" if one.note.braked else "off")
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print(f"in the group: {', '.join(members) or 'nobody'}", markup=False)


@app.command()
def reset(  # noqa: PLR0913 - one parameter per option: typer reads the command line off the signature
    *,
    config: Config = None,
    overrides: Overrides = None,
    partition: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Only this one; may be repeated.", show_default=False),
    ] = None,
    to_time: Annotated[
        str | None,
        typer.Option(help="First record of this time or later: 2026-11-25T12:00Z.", show_default=False),
    ] = None,
    to_offset: Annotated[int | None, typer.Option(min=0, help="This offset.", show_default=False)] = None,
    to_earliest: Annotated[bool, typer.Option("--to-earliest", help="The first offset there is.")] = False,
    to_latest: Annotated[bool, typer.Option("--to-latest", help="The end: skip what is waiting.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change; change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let the group go on from another place, as another run. Refused while a gate of the group runs: exit 75.

    What is scored again carries the next run number. Set `gate.run` to it before the gates start again: they
    refuse to go on with the earlier one. Exit 2 for a place that there is not.

    Example: `sluice offsets reset -c configs/local.yaml --to-time 2026-11-25T12:00Z --dry-run`
    """
    targets = [Target("time", _time_ms(to_time))] if to_time is not None else []
    targets += [Target("offset", to_offset)] if to_offset is not None else []
    targets += [Target("earliest")] if to_earliest else []
    targets += [Target("latest")] if to_latest else []
    if len(targets) != 1:
        raise typer.BadParameter("name one of --to-time, --to-offset, --to-earliest and --to-latest")
    settings = settings_from(config, overrides)
    planned = offsets.plan(settings, targets[0], partition or ())
    if not dry_run:
        offsets.apply(settings, planned)
    if as_json:
        typer.echo(json.dumps(_report(settings, planned, dry_run=dry_run)))
    else:
        _show(settings, planned, dry_run=dry_run)


def _time_ms(text: str) -> int:
    hint = f"write it with its time zone, as 2026-11-25T12:00Z, not {text!r}"
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(hint, param_hint="--to-time") from error
    if at.tzinfo is None:
        raise typer.BadParameter(hint, param_hint="--to-time")
    return max(0, round(at.timestamp() * 1000))


def _report(settings: Settings, planned: Reset, *, dry_run: bool) -> dict[str, object]:
    moves = {
        str(source): {"from": planned.before[source].committed, "to": at}
        for source, at in sorted(planned.after.items())
    }
    return {
        "group": settings.gate.group,
        "run": planned.run,
        "dry_run": dry_run,
        "partitions": moves,
        "reconcile": _starts(planned),
        "reconcile_before": _ends(planned),
    }


def _starts(planned: Reset) -> list[str]:
    """What `sluice reconcile --start` has to be told of the run that begins here."""
    return _places(planned.after)


def _ends(planned: Reset) -> list[str]:
    """What `sluice reconcile --end` has to be told of the run that ends here."""
    return _places({source: one.at for source, one in planned.before.items()})


def _places(found: Mapping[TopicPartition, int]) -> list[str]:
    return [f"{source.partition}={at}" for source, at in sorted(found.items())]


def _show(settings: Settings, planned: Reset, *, dry_run: bool) -> None:
    table = _table(settings, "partition", "committed", "reset to", "again", "skipped")
    for source in planned.moved:
        before, to = planned.before[source], planned.after[source]
        again, skipped = max(0, before.at - to), max(0, to - before.at)
        committed = "none" if before.committed is None else f"{before.committed:,}"
        table.add_row(str(source), committed, f"{to:,}", f"{again:,}", f"{skipped:,}")
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    starts = " ".join(f"--start {start}" for start in _starts(planned))
    ends = " ".join(f"--end {end}" for end in _ends(planned))
    said = "would be" if dry_run else "is now"
    console.print(f"the run number {said} {planned.run}: set gate.run: {planned.run}, then start the gates")
    console.print(f"its account: sluice reconcile --run {planned.run} {starts}")
    began = " and each --start that the reset before this one printed" if planned.run > 2 else ""
    console.print(f"that of the run before: sluice reconcile --run {planned.run - 1} {ends}{began}")


def _table(settings: Settings, *columns: str) -> Table:
    table = Table(title=f"group {escape(settings.gate.group)}")
    for column in columns:
        # Folded: a name or an offset that is cut off at the terminal's width may be that of another.
        table.add_column(column, justify="left" if column == "partition" else "right", overflow="fold")
    return table
