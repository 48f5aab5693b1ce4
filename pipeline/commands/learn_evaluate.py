"""`sluice learn evaluate`: what a bundle is worth on labelled pairs, alone or against another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actors.learn.bootstrap import ENOUGH_CLUSTERS, Difference, Estimate
from actors.learn.evaluate import TITLES, Evaluation, titled
from actors.learn.roles import Role
from pipeline.commands.options import (
    Config,
    Json,
    LabelFiles,
    Overrides,
    label_paths,
    log_to_stderr,
    train_extra,
)

if TYPE_CHECKING:
    from pipeline.evaluating import Report

_BY_SEGMENT = ("auc", "share_prune", "precision_capped", "severe_prune", "severe_review", "severe_pass")


def evaluate(  # noqa: PLR0913 - one parameter per option: typer reads the command line off the signature
    bundle: Annotated[str, typer.Argument(help="Folder or address of a bundle.")],
    data: LabelFiles = None,
    *,
    config: Config = None,
    overrides: Overrides = None,
    role: Annotated[
        list[Role] | None,
        typer.Option(help="Pairs of this role in the bundle; may be repeated. By default test."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All pairs: for data that the bundle never saw.")
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="A second bundle, measured on the same pairs.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder for evaluation.json and the plots.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle on pairs that people have settled, with a cluster interval for each figure.

    Columns are mapped by `labels.columns` of the settings; levels are those of the bundle's rubric. Figures are
    estimates, and nothing here is promised.

    Example: `sluice learn evaluate out/bundle labels.parquet -c configs/train.yaml --against out/before`
    """
    with train_extra():
        from pipeline.evaluating import (  # noqa: PLC0415
            Data,
            measure,
            refuse_existing,
            write_report,
        )
        from pipeline.learn_settings import load_learn  # noqa: PLC0415
    if role and everything:
        raise typer.BadParameter("it takes all pairs, so that no role can be named", param_hint="--all")
    log_to_stderr()
    settings = load_learn(config, overrides or ())
    paths = label_paths(data, settings, hint="DATA")
    if out is not None:
        refuse_existing(out)
    judged_by = Data(paths, settings.labels.columns, tuple(role or (Role.TEST,)), everything)
    report = measure(bundle, judged_by, against=against)
    if out is not None:
        write_report(out, report)
    if as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        _show(report)


def _show(report: Report) -> None:
    console = Console(soft_wrap=True, highlight=False)
    both = [one for one in (report.measured, report.other) if one is not None]
    found = report.measured.evaluation
    said = f"{found.n_pairs:,} pairs, {found.n_severe:,} severe, in {found.n_clusters:,} clusters"
    if found.approximate:
        said += f"; fewer than {ENOUGH_CLUSTERS} clusters, so every interval is approximate (~)"
    console.print(f"{said}. Estimates, not promises.", markup=False)
    for one in both:
        trusted = "; that it did not learn from these pairs is taken on trust" if one.on_trust else ""
        console.print(f"{one.bundle.path}: {one.bundle.digest}{trusted}", markup=False)
    if report.n_left_out:
        console.print(f"{report.n_left_out:,} pairs were left out: the other bundle has used them.")
    names = [one.bundle.path.name for one in both]
    if len(set(names)) < len(names):
        names = [str(one.bundle.path) for one in both]
    table = _table("estimates", "what", *names)
    columns = [_figures(one.evaluation) for one in both]
    for name in columns[0]:
        table.add_row(TITLES[name], *(escape(figures[name]) for figures in columns))
    console.print(table)
    if report.differences:
        console.print(_differences(report.differences))
    if found.by_segment:
        console.print(_segments(found.by_segment))


def _differences(found: Mapping[str, Difference]) -> Table:
    table = _table("the first less the second, on equal pairs and draws", "what", "difference", "p")
    for title, difference in titled(found):
        p = difference.p
        table.add_row(title, escape(str(difference)), "" if p is None else f"{p:.3f}")
    return table


def _figures(evaluation: Evaluation) -> dict[str, str]:
    """Every figure as text, in the order of `TITLES`."""
    found = evaluation.reliability
    estimates: dict[str, Estimate] = {
        **evaluation.figures,
        "brier": found.brier,
        "calibration_slope": found.slope,
        "calibration_intercept": found.intercept,
    }
    texts = {name: str(one) for name, one in estimates.items()}
    texts["expected_calibration_error"] = f"{found.ece:.3f}, a point"
    return {name: texts[name] for name in TITLES}


def _segments(parts: Mapping[str, Evaluation]) -> Table:
    """A figure to a line: beside each other they would not fit on a terminal."""
    from actors.learn.listing import one_line  # noqa: PLC0415

    table = Table(title="by segment: described, not promised")
    table.add_column("segment", overflow="fold")
    table.add_column("what")
    table.add_column(escape("value [interval]"), justify="right")
    for name, part in parts.items():
        figures = {TITLES[figure]: str(part.figures[figure]) for figure in _BY_SEGMENT}
        figures |= {TITLES["brier"]: str(part.reliability.brier)}
        table.add_row(
            escape(one_line(name) or "(none)"), "pairs, clusters", f"{part.n_pairs:,}, {part.n_clusters:,}"
        )
        for title, said in figures.items():
            table.add_row("", title, escape(said))
        table.add_section()
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title)
    table.add_column(first)
    for column in others:
        table.add_column(escape(column), justify="right")
    return table
