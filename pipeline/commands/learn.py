"""`sluice learn …`: from labels to what a bundle may act on."""

from __future__ import annotations

import typer

from pipeline.commands.learn_audit import audit
from pipeline.commands.learn_evaluate import evaluate
from pipeline.commands.learn_threshold import threshold
from pipeline.commands.learn_train import train

app = typer.Typer(name="learn", help="From labels to a policy that a gate may act on.", no_args_is_help=True)


@app.callback()
def learn() -> None:
    """From labels to a policy that a gate may act on."""


app.command()(audit)
app.command()(train)
app.command()(evaluate)
app.command()(threshold)
