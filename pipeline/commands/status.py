"""`sluice status`: where a gate's group stands, by the broker and, where it runs, by the gate itself."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline import doors
from pipeline.commands.options import Config, Json, Overrides, settings_from
from pipeline.kafka import topics
from pipeline.kafka.topics import Extent
from pipeline.settings import Settings

EXIT_BEHIND = 1


def status(
    *,
    config: Config = None,
    overrides: Overrides = None,
    max_lag: Annotated[
        int | None, typer.Option(min=0, help="Exit 1 when the lag is larger.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Show lag and positions of the group, and rates, bundle and readiness of the gate if it answers.

    Example: `sluice status -c configs/local.yaml --max-lag 10000`
    """
    settings = settings_from(config, overrides)
    partitions = _partitions(settings)
    lag = sum(partition["lag"] for partition in partitions.values())
    report = {"lag": lag, "partitions": partitions, "gate": doors.ask(settings.http.host, settings.http.port)}
    if as_json:
        typer.echo(json.dumps(report))
    else:
        _show(report, settings)
    if max_lag is not None and lag > max_lag:
        raise typer.Exit(EXIT_BEHIND)


def _partitions(settings: Settings) -> dict[str, dict[str, int]]:
    topic = settings.topics.input
    committed = topics.committed(settings.kafka, settings.gate.group, topic)
    extents = topics.extents(settings.kafka, topic)
    if not extents:  # or a name that is mistyped would have no lag, and look drained
        raise settings.refuse("topics.input", f"there is no topic {topic!r}")
    return {
        str(source): _partition(extent, committed.get(source, extent.earliest))
        for source, extent in extents.items()
    }


def _partition(extent: Extent, at: int) -> dict[str, int]:
    return {
        "committed": at,
        "end": extent.last_stable,
        # Never negative: one partition that was made anew would hide the lag of others.
        "lag": max(0, extent.last_stable - at),
        "lag_to_high_watermark": max(0, extent.high_watermark - at),
    }


def _show(report: dict[str, Any], settings: Settings) -> None:
    console = Console(soft_wrap=True)
    table = Table(title=f"group {escape(settings.gate.group)}")
    for column in ("partition", "committed", "end", "lag"):
        # Folded: a name or an offset that is cut off at the terminal's width may be that of another.
        table.add_column(column, justify="left" if column == "partition" else "right", overflow="fold")
    for name, partition in report["partitions"].items():
        table.add_row(name, *(f"{partition[key]:,}" for key in ("committed", "end", "lag")))
    console.print(table)
    gate = report["gate"]
    if gate is None:
        console.print(f"no gate answers at {settings.http.host}:{settings.http.port}")
        return
    if "counts" not in gate:
        console.print(f"gate: not ready, {gate['not_ready']}", markup=False)
        return
    counts = ", ".join(f"{name.rstrip('_')} {n:,}" for name, n in gate["counts"].items())
    console.print(
        f"gate: {'ready' if gate['ready'] else 'not ready'}, mode {gate['mode']}, run {gate['run']}"
    )
    drain_s = gate["drain_s"]
    drained = "not drained at that" if drain_s is None else f"its lag is gone in {drain_s:,.0f} s"
    console.print(
        f"rate: {gate['records_per_s']:,.1f} messages/s, {drained}, {gate['in_flight']} claims in flight"
    )
    console.print(f"bundle: {gate['bundle']['digest']}")
    console.print(f"since start: {counts}")
