"""`sluice learn audit`: whether labels are fit to learn from and to promise on, before anything rests on them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors.bundle import Bundle
from actors.errors import DataRefused
from actors.learn.labels import Sampling
from pipeline.bundles import local_bundle
from pipeline.commands.options import (
    Config,
    Json,
    LabelFiles,
    Overrides,
    accepted_kinds,
    label_paths,
    train_extra,
)
from pipeline.errors import DataUnusable

if TYPE_CHECKING:
    from actors.learn.audit import Audit
    from actors.learn.balance import Balance
    from actors.learn.labels import Columns, Labels
    from actors.learn.listing import Listed
    from actors.learn.sample import Sample
    from pipeline.learn_settings import LearnSettings

EXIT_BLOCKED = 1
_SHOWN = 5
"""Examples of a kind on a terminal; the page has more."""


def audit(
    data: LabelFiles = None,
    *,
    config: Config = None,
    overrides: Overrides = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page for people to this file.", show_default=False)
    ] = None,
    probabilities: Annotated[
        str | None,
        typer.Option(
            help="Column with probabilities of a severe level, by a model that did not learn from the pair's "
            "cluster: wrong labels are looked for with them, instead of by the words.",
            show_default=False,
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            help="A kind of problem to let pass, which is recorded: overlap, chance, leakage, single_class or "
            "clusters; may be repeated.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at labels from every side, and say what stands in the way of training on them.

    Agreement, judges against people, conflicts, duplicates, texts that roles share, balance, and labels that are
    likely wrong: to look at, no row is dropped. Exit code 1 when a problem stands that nobody accepted; each says
    what to do.

    Example: `sluice learn audit labels.parquet -c configs/train.yaml --html out/audit.html`
    """
    with train_extra():
        from actors.learn.audit import audit as look_at  # noqa: PLC0415
        from actors.learn.audit_page import page  # noqa: PLC0415
        from actors.learn.reading import read_labels, read_probabilities  # noqa: PLC0415
        from pipeline.learn_settings import load_learn  # noqa: PLC0415
    settings = load_learn(config, overrides or ())
    paths = label_paths(data, settings, hint="DATA")
    accepted = accepted_kinds(accept or (), settings)
    labels = read_labels(paths, settings.labels.columns, settings.labels.rubric)
    source = ", ".join(map(str, paths))
    sample, why_no_roles = _sample(labels, settings, source)
    found = look_at(
        labels,
        sample,
        shares=settings.labels.shares,
        p_severe=None if probabilities is None else read_probabilities(paths, probabilities, labels),
        source=source,
    ).accepting(accepted)
    found = replace(found, notes=(*why_no_roles, *_taken_on_trust(settings.labels.columns), *found.notes))
    if html is not None:
        _write(html, page(found))
    if as_json:
        typer.echo(json.dumps(found.to_json(), allow_nan=False))
    else:
        _show(found)
    if found.standing:
        raise typer.Exit(EXIT_BLOCKED)


def _sample(labels: Labels, settings: LearnSettings, source: str) -> tuple[Sample, tuple[str, ...]]:
    """With the roles that the settings draw; all for training, and why, where the clusters do not suffice."""
    from actors.learn.roles import Role, read_roles  # noqa: PLC0415
    from actors.learn.sample import Sample  # noqa: PLC0415

    earlier = settings.labels.known
    draw = partial(
        Sample.of,
        labels,
        settings.model.template,
        seed=settings.labels.seed,
        known=None if earlier is None else read_roles(Bundle.open(local_bundle(earlier)).path),
        source=source,
    )
    try:
        return draw(shares=settings.labels.shares), ()
    except DataRefused as refusal:
        # Raised again, where it is about the texts.
        said = f"all pairs are looked at as those of train, or as known: {refusal.problem}"
        return draw(shares={Role.TRAIN: 1.0}), (said,)


def _taken_on_trust(columns: Columns) -> Iterator[str]:
    if columns.sampling is None and columns.default_sampling is Sampling.RANDOM:
        yield (
            "no column says how the pairs were chosen (labels.columns.sampling): that all are of a probability "
            "sample, on which a promise can rest, is taken on trust"
        )


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataUnusable(str(path), f"cannot be written: {error.strerror}") from error


def _show(found: Audit) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for one in found.blocking:
        passes = one.kind in found.accepted
        style = "bold" if passes else "bold red"
        console.print(f"{one.kind}{' (accepted)' if passes else ''}: {one.said}", style=style, markup=False)
        console.print(f"  {one.what_to_do}", markup=False)
    if not found.blocking:
        console.print("nothing stands in the way of training on these labels", style="bold")
    for note in found.notes:
        console.print(f"note: {note}", markup=False)
    console.print(_counts(found))
    console.print(_levels(found))
    if found.judges:
        console.print(_judges(found))
    if found.by_role:
        console.print(_balances("by role", found.by_role))
    if found.by_segment:
        console.print(_balances("by segment", found.by_segment))
    for title, listed in (
        ("conflicts that nobody settled", found.conflicts),
        ("alike pairs with contradicting labels", found.repeats.contradicting),
        ("alike queries in several roles", found.leakage.queries),
        ("likely wrong labels, to look at", found.suspected.found),
    ):
        if listed.n:
            console.print(_listed(title, listed))


def _counts(found: Audit) -> Table:
    sizes, people = found.pairs_per_cluster, found.agreement
    alpha = "no pair was labelled by two" if people.alpha is None else f"{people.alpha:.3f}"
    kappas = [kappa for kappa in people.kappa.values() if kappa is not None]
    rows = {
        "pairs": f"{found.n_pairs:,}",
        "pairs settled by people": f"{found.n_settled:,}",
        **{f"labels: {name}": f"{n:,}" for name, n in found.labels_by_source.items()},
        "clusters": f"{len(sizes):,}, {'declared' if found.clusters_declared else 'found from the queries'}",
        "pairs per cluster": f"{sizes.min():,} to {sizes.max():,}, {sizes.mean():.1f} on average",
        "Krippendorff's alpha": alpha,
        "Cohen's kappa": f"{min(kappas):.3f} to {max(kappas):.3f}" if kappas else "none",
        "pairs of one person's word": f"{people.n_alone:,}",
        "pairs with equal texts": f"{found.repeats.same.n:,} groups",
        "pairs that are alike": f"{found.repeats.near.n:,} groups",
        "documents in several roles": f"{found.leakage.documents.n:,}",
        "likely wrong labels": f"{found.suspected.found.n:,}; {found.suspected.basis}",
        "AUC of that": str(found.suspected.auc or "none"),
    }
    table = Table(title="labels", show_header=False)
    for name, value in rows.items():
        table.add_row(Text(name), Text(value))
    return table


def _levels(found: Audit) -> Table:
    sources = sorted({name for counts in found.labels_by_level.values() for name in counts})
    table = Table(title="levels")
    table.add_column("level")
    for name in sources:
        table.add_column(name, justify="right")
    for level, counts in found.labels_by_level.items():
        table.add_row(Text(level), *(f"{counts[name]:,}" for name in sources))
    return table


def _judges(found: Audit) -> Table:
    table = Table(title="judges: share severe for people, by what the judge says")
    for name in ("judge", "pairs of both", "AUC", "level", "share severe"):
        table.add_column(name)
    for judge in found.judges[:_SHOWN]:
        first = Text(judge.name), f"{judge.n_overlap:,}", Text(str(judge.auc or "none"))
        shares = {level: str(share) for level, share in judge.by_level.items()} or {"": ""}
        for place, (level, share) in enumerate(shares.items()):
            table.add_row(*(first if place == 0 else ("", "", "")), Text(level), Text(share))
    return table


def _balances(title: str, found: Mapping[str, Balance]) -> Table:
    table = Table(title=title)
    for name in ("", "settled pairs", "clusters", "share severe"):
        table.add_column(name)
    for name, one in itertools.islice(found.items(), 2 * _SHOWN):
        table.add_row(Text(name), f"{one.n_pairs:,}", f"{one.n_clusters:,}", Text(str(one.severe)))
    return table


def _listed(title: str, listed: Listed) -> Table:
    shown = listed.shown[:_SHOWN]
    table = Table(
        title=f"{title}: {listed.n:,}" + (f", the first {len(shown)}" if len(shown) < listed.n else "")
    )
    for name in ("query", "document", "what is said"):
        table.add_column(name, overflow="fold")
    for one in shown:
        table.add_row(Text(one.query), Text(one.document), Text(one.said))
    return table
