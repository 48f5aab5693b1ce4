"""`sluice topics create`: the topics of a gate."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pipeline.commands.options import Config, Json, Overrides, settings_from
from pipeline.kafka import topics

app = typer.Typer(name="topics", help="The topics of a gate.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """The topics of a gate."""


@app.command()
def create(
    *,
    config: Config = None,
    overrides: Overrides = None,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each topic.")] = 4,
    replication: Annotated[int, typer.Option(min=1, help="Replicas of each partition.")] = 1,
    as_json: Json = False,
) -> None:
    """Create the input topic and the outputs that do not exist yet.

    Example: `sluice topics create -c configs/local.yaml --partitions 12 --replication 3`
    """
    settings = settings_from(config, overrides)
    # What the gate may send is larger than what it takes: a reject carries its reason, a verdict its source.
    allow = {"max.message.bytes": str(settings.limits.max_batch_bytes)}
    names = [settings.topics.input, *settings.topics.outputs.values()]
    wanted = [topics.NewTopic(name, partitions, replication, allow) for name in names]
    created = topics.create(settings.kafka, wanted)
    if as_json:
        typer.echo(json.dumps({"created": created, "present": [n for n in names if n not in created]}))
        return
    for name in names:
        typer.echo(f"{name}: {'created' if name in created else 'present'}")
