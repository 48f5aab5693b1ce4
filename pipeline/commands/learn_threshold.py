"""`sluice learn threshold`: what may be pruned, what is promised about it, and what people should look at."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actors.bundle import Bundle, refuse_existing
from actors.learn.evaluate import titled
from actors.learn.threshold import Decision, Wish
from pipeline.bundles import local_bundle
from pipeline.commands.options import (
    EXIT_NOTHING_PROMISED,
    Config,
    Json,
    LabelFiles,
    Overrides,
    label_paths,
    log_to_stderr,
    train_extra,
)

if TYPE_CHECKING:
    from actors.learn.finish import Finished


def threshold(  # noqa: PLR0913 - one parameter per option: typer reads the command line off the signature
    bundle: Annotated[str, typer.Argument(help="Folder or address of the bundle whose model scores.")],
    labels: LabelFiles = None,
    *,
    out: Annotated[Path, typer.Option(help="New folder for the bundle with these thresholds.")],
    traffic: Annotated[
        Path | None,
        typer.Option(
            help="A window of traffic, not chosen by score; by default policy.traffic.", show_default=False
        ),
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
    target: Annotated[
        float | None,
        typer.Option(help="Precision that prune should have; by default policy.wish.target."),
    ] = None,
    confidence: Annotated[float | None, typer.Option(help="Over all tries on these labels.")] = None,
    cap: Annotated[int | None, typer.Option(min=1, help="Prunes of one cluster that count.")] = None,
    max_review_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Greatest share of traffic for people.")
    ] = None,
    tries: Annotated[
        int | None, typer.Option(min=1, help="Bundles, targets and windows that will be tried, in all.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            help="File that holds the tries on these labels; by default policy.record.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Set the thresholds of a bundle from labelled clusters and traffic, and write it as a new one.

    Labels count that people settled for a probability sample: new ones, or those of the bundle's role `threshold`.
    What is promised is the target, with the confidence; shares and precisions beside it are estimates. Exit code 1
    when nothing can be promised: then the new bundle prunes nothing, and it says how many labelled clusters it
    would take.

    Example: `sluice learn threshold out/bundle new.parquet --traffic traffic.parquet --out out/child --tries 3`
    """
    with train_extra():
        from actors.learn.eligible import to_prove  # noqa: PLC0415
        from actors.learn.finish import Order, renew  # noqa: PLC0415
        from actors.learn.window import Traffic  # noqa: PLC0415
        from pipeline.label_files import read_with_digests  # noqa: PLC0415
        from pipeline.learn_settings import load_learn  # noqa: PLC0415
    log_to_stderr()
    settings = load_learn(config, overrides or ())
    columns, paths = settings.labels.columns, label_paths(labels, settings, hint="LABELS")
    window = traffic or settings.policy.traffic
    if window is None:
        raise typer.BadParameter("name a file, or set policy.traffic", param_hint="--traffic")
    asked = {"target": target, "confidence": confidence, "max_review_share": max_review_share}
    wish = _wish(settings.policy.wish, asked | {"cap": cap, "n_tries": tries})
    refuse_existing(out)
    parent, source = Bundle.open(local_bundle(bundle)), ", ".join(map(str, paths))
    given, digests = read_with_digests(paths, columns, parent.manifest.rubric)
    proving = to_prove(parent, given, source=source)
    done = renew(
        parent,
        proving,
        Order(out, wish, record or settings.policy.record),
        Traffic.read(window, columns),
        data=digests,
        source=source,
    )
    if as_json:
        typer.echo(json.dumps(_report(done) | {"labels_on_trust": proving.on_trust}))
    else:
        _show(done, on_trust=proving.on_trust)
    if not done.decision.promised:
        raise typer.Exit(EXIT_NOTHING_PROMISED)


def _wish(usual: Wish, asked: dict[str, Any]) -> Wish:
    try:
        return replace(usual, **{name: value for name, value in asked.items() if value is not None})
    except ValueError as error:
        raise typer.BadParameter(
            "a target and a confidence are above 0 and below 1", param_hint="--target"
        ) from error


def _report(done: Finished) -> dict[str, Any]:
    return {
        "bundle": str(done.bundle.path),
        "digest": done.bundle.digest,
        "parent": done.bundle.manifest.parent,
        **done.decision.to_json(),
        "policy": done.bundle.manifest.policy.to_json(),
        "tries_made": done.n_tries,
    }


def _show(done: Finished, *, on_trust: bool) -> None:
    console, decision = Console(soft_wrap=True, highlight=False), done.decision
    console.print(decision.said, style="bold" if decision.promised else "bold red", markup=False)
    if on_trust:
        console.print(
            "The bundle does not record which queries it learned from: that these are none is taken on trust.",
            style="red",
        )
    console.print(_thresholds(decision))
    expected = Table(title="estimates on the labelled clusters, not promised")
    expected.add_column("what")
    expected.add_column(escape("value [interval]"), justify="right")
    for title, estimate in titled(decision.expected):
        expected.add_row(title, escape(str(estimate)))
    console.print(expected)
    console.print(f"{done.bundle.path}: {done.bundle.digest}", markup=False)


def _thresholds(decision: Decision) -> Table:
    table = Table(title="policy")
    for column in ("action", "logit from", "share of traffic, an estimate"):
        table.add_column(column, justify="left" if column == "action" else "right")
    for action, logit in (("prune", decision.prune), ("review", decision.review)):
        table.add_row(
            action, f"{logit:.4f}" if math.isfinite(logit) else "never", f"{decision.traffic[action]:.2%}"
        )
    return table
