"""`sluice learn threshold`: what may be pruned, what is promised about it, and what people should look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from actors.learn.guarantee import CAP, Labelled
from actors.learn.scored import read_scored
from actors.learn.threshold import Decision, Wish, decide
from actors.learn.tries import Try, begin, n_made
from pipeline.commands.options import Json

EXIT_NOTHING_PROMISED = 1


def threshold(  # noqa: PLR0913 - one parameter per option: typer reads the command line off the signature
    labels: Annotated[
        Path,
        typer.Argument(
            help="Parquet with logit, severe and cluster: a probability sample of clusters, settled by people."
        ),
    ],
    traffic: Annotated[
        Path, typer.Argument(help="Parquet with logit and cluster: a window of traffic, not chosen by score.")
    ],
    *,
    target: Annotated[float, typer.Option(help="Precision that prune should have.")] = 0.95,
    confidence: Annotated[float, typer.Option(help="Over all tries on these labels.")] = 0.95,
    cap: Annotated[int, typer.Option(min=1, help="Prunes of one cluster that count.")] = CAP,
    max_review_share: Annotated[
        float, typer.Option(min=0, max=1, help="Greatest share of traffic for people.")
    ] = 0.05,
    tries: Annotated[
        int, typer.Option(min=1, help="Bundles and targets that will be tried on these labels, in all.")
    ] = 1,
    record: Annotated[
        Path | None,
        typer.Option(help="File that holds the tries on these labels; needs --weights.", show_default=False),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Digest of the weights that gave the logits, for --record.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Set the thresholds of a policy from labelled clusters and traffic.

    What is promised is the target, with the confidence; shares and precisions beside it are estimates. Exit code 1
    when nothing can be promised: then nothing is pruned, and it says how many labelled clusters it would take.

    Example: `sluice learn threshold labels.parquet traffic.parquet --target 0.95 --tries 3`
    """
    if (record is None) != (weights is None):
        raise typer.BadParameter("--record and --weights go together", param_hint="--record")
    try:
        wish = Wish(target, confidence, max_review_share, cap, tries)
    except ValueError as error:
        raise typer.BadParameter(
            "a target and a confidence are above 0 and below 1", param_hint="--target"
        ) from error
    sample, window = read_scored(labels, labelled=True), read_scored(traffic, labelled=False)
    made = None
    if record is not None and weights is not None:
        made = n_made(begin(record, Try.of(weights, wish, sample.cluster.tolist())))
    assert sample.severe is not None
    decision = decide(
        Labelled.of(sample.logit, sample.severe, sample.cluster), window.logit, window.cluster, wish
    )
    if as_json:
        typer.echo(
            json.dumps(decision.to_json() | {"policy": decision.to_policy().to_json(), "tries_made": made})
        )
    else:
        _show(decision)
    if not decision.promised:
        raise typer.Exit(EXIT_NOTHING_PROMISED)


def _show(decision: Decision) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(decision.said, style="bold" if decision.promised else "bold red", markup=False)
    thresholds = Table(title="policy")
    for column in ("action", "logit from", "share of traffic"):
        thresholds.add_column(column, justify="left" if column == "action" else "right")
    for action, logit in (("prune", decision.prune), ("review", decision.review)):
        thresholds.add_row(action, f"{logit:.4f}", f"{decision.traffic[action]:.2%}")
    console.print(thresholds)
    expected = Table(title="estimates on the labelled clusters, not promised")
    expected.add_column("what")
    expected.add_column("value [interval]", justify="right")
    for name, estimate in decision.expected.items():
        expected.add_row(name.replace("_", " "), str(estimate).replace("[", "\\["))
    console.print(expected)
