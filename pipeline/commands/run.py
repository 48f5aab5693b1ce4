"""`sluice run`: one gate, until it is stopped."""

from __future__ import annotations

import gc
import json
import signal
from functools import partial
from typing import Annotated

import typer

from pipeline import bundles, startup
from pipeline.commands.options import Config, Overrides, log_to_stderr, settings_from
from pipeline.keeper import Keeper


def run(
    *,
    config: Config = None,
    overrides: Overrides = None,
    until_drained: Annotated[
        bool, typer.Option(help="Stop once everything that its partitions hold is committed.")
    ] = False,
    show_settings: Annotated[
        bool, typer.Option(help="Print the settings in force, secrets masked, and exit.")
    ] = False,
) -> None:
    """Run a gate until it is stopped.

    SIGTERM or Ctrl-C: what is in flight is committed, the group is left, exit 0. Exit codes: 65 data was lost, or
    cannot be decoded or sent, 69 no broker or no Ray cluster, 70 a pool that never gets warm, or a defect, 75
    another gate has this one's name or the broker stayed away, 77 the broker refuses us, 78 settings, topics or
    bundle.

    Example: `sluice run -c configs/local.yaml --set gate.enforce=true`
    """
    settings = settings_from(config, overrides)
    if show_settings:
        typer.echo(json.dumps(settings.shown(), indent=2))
        return
    log_to_stderr()
    keeper = Keeper(
        settings,
        startup.destinations(settings),
        bundles.open_bundle(settings),
        until_drained=until_drained,
        look_up=partial(startup.places, settings),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: keeper.stop())
    # A transaction makes tens of thousands of objects, all of which die by reference count: looking for cycles
    # among them each 700 took a tenth of the keeper's time (JSON messages, 20,000 a second).
    gc.freeze()
    gc.set_threshold(200_000)
    keeper.run()
