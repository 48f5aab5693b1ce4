"""`sluice bundle …`: whether a bundle is whole, what it says, how it differs, and a child that is faster."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actors.bundle import Bundle, refuse_existing
from actors.difference import Differing, differences
from actors.learn.bootstrap import Estimate
from actors.learn.evaluate import TITLES
from actors.manifest import SCHEMA_VERSION, Manifest
from actors.pairs import Part
from actors.serving import Engine, InstructionSet, Precision, Serving, widest_here
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
    from actors.learn.optimise import Optimised

EXIT_DIFFERENT = 1
_MOST_LINES = 12
_MOST_CHARS = 60
"""Of two values on one line."""
_LONGEST = 300
"""Characters that are shown of a value."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

app = typer.Typer(name="bundle", help="The bundle that a gate scores with.", no_args_is_help=True)

Address = Annotated[
    str, typer.Argument(help="A folder, an address such as s3://…, or hf://owner/name@commit, all 40 digits.")
]


@app.callback()
def group() -> None:
    """The bundle that a gate scores with."""


@app.command()
def verify(address: Address, *, as_json: Json = False) -> None:
    """Check every file of a bundle against its digest.

    Exit code 65, with one line that says why, where anything is missing, surplus, altered, pickled, of a newer
    schema, or brings code of its own.

    Example: `sluice bundle verify out/demo-bundle`
    """
    bundle = Bundle.open(local_bundle(address))
    if as_json:
        report = {"address": address, "digest": bundle.digest, "schema": SCHEMA_VERSION}
        typer.echo(json.dumps(report | {"files": dict(bundle.manifest.files)}))
    else:
        typer.echo(f"{address}: whole, {len(bundle.manifest.files)} files, {bundle.digest}")


@app.command()
def show(address: Address, *, as_json: Json = False) -> None:
    """Say what a bundle is: its promise, its thresholds, what they rest on, and how it was measured.

    Checks every file first, as `verify` does. `--json` gives the whole manifest.

    Example: `sluice bundle show out/demo-bundle`
    """
    bundle = Bundle.open(local_bundle(address))
    if as_json:
        typer.echo(json.dumps(bundle.manifest.to_json() | {"digest": bundle.digest}))
    else:
        _show(bundle)


@app.command()
def diff(one: Address, other: Address, *, as_json: Json = False) -> None:
    """Say what differs between two bundles: files, template, map, thresholds, promise, data, metrics.

    Checks both first, as `verify` does. Exit code 1 when they differ.

    Example: `sluice bundle diff out/before out/after`
    """
    left, right = Bundle.open(local_bundle(one)), Bundle.open(local_bundle(other))
    found = differences(left.manifest, right.manifest)
    if as_json:
        typer.echo(json.dumps({"one": left.digest, "other": right.digest, "differences": _by_part(found)}))
    elif found:
        _show_differences(found)
    else:
        typer.echo(f"equal: {left.digest}")
    if found:
        raise typer.Exit(EXIT_DIFFERENT)


@app.command()
def optimise(  # noqa: PLR0913 - one parameter per option: typer reads the command line off the signature
    bundle: Address,
    labels: LabelFiles = None,
    *,
    out: Annotated[Path, typer.Option(help="New folder for the child.")],
    precision: Annotated[Precision, typer.Option(help="Of the matrix products.")] = Precision.INT8,
    engine: Annotated[Engine, typer.Option(help="What computes the encoder.")] = Engine.OPENVINO,
    instructions: Annotated[
        InstructionSet | None,
        typer.Option(help="Hold the engine to these; by default this processor's best.", show_default=False),
    ] = None,
    traffic: Annotated[
        Path | None,
        typer.Option(
            help="A window of traffic, not chosen by score; by default policy.traffic.", show_default=False
        ),
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Write a child of a bundle whose encoder is computed in another way: fewer bits, more pairs a second.

    The child has a map and thresholds of its own, and its promise is tested on its own logits: one more try
    on the labels that the parent's rests on, so plan for it (policy.wish.n_tries). It is written only if it
    prunes what its parent prunes, but for 2% of it, and ranks as well (AUC lower by 0.003 at most, with its
    interval). Exit code 1 when it was not written, or when nothing can be promised. A gate needs the extra of
    the engine: `pip install 'sluice[openvino]'`.

    Example: `sluice bundle optimise out/one labels.parquet -c configs/train.yaml --precision bf16 --out out/fast`
    """
    with train_extra():
        from actors.learn.finish import Order  # noqa: PLC0415
        from actors.learn.front_matter import base_model_of  # noqa: PLC0415
        from actors.learn.optimise import optimise as make_child  # noqa: PLC0415
        from actors.learn.reading import read_labels  # noqa: PLC0415
        from actors.learn.roles import read_roles  # noqa: PLC0415
        from actors.learn.sample import Sample  # noqa: PLC0415
        from actors.learn.window import Traffic  # noqa: PLC0415
        from pipeline.learn_settings import load_learn  # noqa: PLC0415
    log_to_stderr()
    settings = load_learn(config, overrides or ())
    paths, columns = label_paths(labels, settings, hint="LABELS"), settings.labels.columns
    serving = _way(engine, precision, instructions)
    refuse_existing(out)
    parent, source = Bundle.open(local_bundle(bundle)), ", ".join(map(str, paths))
    sample = Sample.of(
        read_labels(paths, columns, parent.manifest.rubric),
        parent.manifest.template,
        known=read_roles(parent.path),
        source=source,
    )
    window, policy = traffic or settings.policy.traffic, settings.policy
    done = make_child(
        parent,
        sample,
        Order(out, policy.wish, policy.record, policy.isotonic, base_model_of(parent.path)),
        serving,
        traffic=None if window is None else Traffic.read(window, columns),
        source=source,
    )
    if as_json:
        report = {"bundle": str(out), "digest": done.finished.bundle.digest, "parent": parent.digest}
        likeness, decision = done.likeness.to_json(), done.finished.decision.to_json()
        typer.echo(json.dumps(report | {"serving": serving.to_json(), "likeness": likeness, **decision}))
    else:
        _show_child(done, out)
    if not (done.likeness.accepted and done.finished.decision.promised):
        raise typer.Exit(EXIT_NOTHING_PROMISED)


def _way(engine: Engine, precision: Precision, instructions: InstructionSet | None) -> Serving:
    """The way to compute, on this processor if nothing else is said."""
    if engine is Engine.TORCH and instructions is not None:
        raise typer.BadParameter("torch cannot be held to any", param_hint="--instructions")
    if engine is Engine.OPENVINO and instructions is None:
        instructions = widest_here()
        if instructions is None:
            raise typer.BadParameter("this processor has none that is known", param_hint="--engine")
    try:
        return Serving(engine, precision, instructions)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--precision") from error


def _show_child(done: Optimised, out: Path) -> None:
    console, likeness = Console(soft_wrap=True, highlight=False), done.likeness
    decision = done.finished.decision
    console.print(decision.said, style="bold" if decision.promised else "bold red", markup=False)
    console.print(
        f"Of {likeness.n_pairs:,} pairs the parent acts on {likeness.n_parent:,} ({likeness.acted_on}); "
        f"{likeness.n_different:,} differ, {likeness.set_difference:.1%} of them. AUC less the parent's: "
        f"{likeness.auc}. The same action for {likeness.decisions_equal:.2%} of all.",
        markup=False,
    )
    if likeness.accepted:
        console.print(f"{out}: {done.finished.bundle.digest}", markup=False)
    else:
        console.print("It does not do what its parent does: no bundle was written.", style="bold red")


def _by_part(found: list[Differing]) -> dict[str, dict[str, list[Any]]]:
    parts: dict[str, dict[str, list[Any]]] = {}
    for difference in found:
        parts.setdefault(difference.part, {})[difference.what] = [difference.one, difference.other]
    return parts


def _show(bundle: Bundle) -> None:
    manifest, console = bundle.manifest, Console(soft_wrap=True, highlight=False)
    console.print(_printable(manifest.name), style="bold", markup=False)
    for name, fact in _facts(bundle):
        console.print(_printable(f"{name}: {fact}"), markup=False)
    if manifest.roles:
        roles = Table(title="labels by role")
        for column in ("role", "pairs", "severe", "clusters"):
            roles.add_column(column, justify="left" if column == "role" else "right")
        for role, count in manifest.roles.items():
            roles.add_row(
                escape(_printable(role)), f"{count.n_pairs:,}", f"{count.n_severe:,}", f"{count.n_clusters:,}"
            )
        console.print(roles)
    figures = list(_figures(manifest.metrics))
    if figures:
        measured = Table(title="estimates on the test role, not promised")
        measured.add_column("what")
        measured.add_column(escape("value [interval]"), justify="right")
        for name, text in figures:
            measured.add_row(escape(name), escape(text))
        console.print(measured)


def _printable(text: str) -> str:
    """The text without orders to the terminal: a bundle may come from anybody."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def _facts(bundle: Bundle) -> Iterator[tuple[str, str]]:
    manifest = bundle.manifest
    policy, rubric = manifest.policy, manifest.rubric
    yield "digest", bundle.digest
    yield "parent", manifest.parent or "none"
    yield "schema", str(SCHEMA_VERSION)
    yield "promise", str(policy.guarantee or "none")
    yield "prune", _from(manifest, policy.prune)
    yield "review", _from(manifest, policy.review)
    yield from _expected(policy.evidence or {})
    yield "rests on", policy.rests_on
    yield (
        "rubric",
        ", ".join(f"{level} (severe)" if level in rubric.severe else level for level in rubric.levels),
    )
    yield "fields of a query", _made_of(manifest.template.query)
    yield "fields of a document", _made_of(manifest.template.document)
    yield "computed as", str(manifest.serving)
    yield from _beside_parent(_mapping(manifest.metrics, "against_parent"))
    yield "longest pair", f"{manifest.max_tokens} tokens"
    yield "labels from", manifest.origin
    let_pass = _mapping(manifest.metrics, "training").get("accepted")
    if let_pass and isinstance(let_pass, list):
        yield "problems of the labels that were let pass", ", ".join(map(str, let_pass))
    for name, digest in manifest.data.items():
        yield "label file", f"{name} {digest}"
    yield "code", manifest.code or "not known"
    yield "files", ", ".join(manifest.files)


def _mapping(metrics: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of what was measured; nothing where somebody wrote something else."""
    found = metrics.get(name)
    return found if isinstance(found, Mapping) else {}


def _made_of(parts: Sequence[Part]) -> str:
    """The fields that make up a text, each with what is written before it."""
    return ", ".join(f"{part.label!r} {part.field}" if part.label else part.field for part in parts)


def _beside_parent(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What `Likeness.to_json` says, as far as it is there."""
    with suppress(KeyError, TypeError, ValueError):
        yield (
            "beside its parent",
            f"of {told['n_parent']:,} pairs that it acts on ({told['acted_on']}) {told['n_different']:,} differ, "
            f"{told['set_difference']:.1%}; the same action for {told['decisions_equal']:.2%} of all; "
            f"AUC less the parent's: {Estimate.from_json(told['auc'])}",
        )


def _expected(evidence: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What `Decision.to_json` says of traffic, and of labels that are lacking, as far as it is there."""
    with suppress(KeyError, TypeError, ValueError):
        shares = evidence["traffic_shares"]
        said = ", ".join(f"{action} {shares[action]:.2%}" for action in ("prune", "review", "pass"))
        yield "expected", f"{said} of traffic"
    with suppress(KeyError, TypeError, ValueError):
        if not evidence["promised"]:
            yield (
                "lacking",
                f"{evidence['target']:g} at {evidence['confidence']:g} takes "
                f"{evidence['clusters_needed']['without_error']} labelled clusters full of prunes without an "
                f"error, and {evidence['n_clusters']} were labelled",
            )


def _from(manifest: Manifest, threshold: float) -> str:
    if not math.isfinite(threshold):
        return "never"
    relevance = float(manifest.calibration.relevance(np.array([threshold]))[0])
    return f"from logit {threshold:.4f}, which is relevance {relevance:.3f}"


def _figures(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What `Evaluation.to_json` wrote, as far as it is there."""
    for name in ("n_pairs", "n_severe", "n_clusters"):
        if isinstance(metrics.get(name), int):
            yield name.removeprefix("n_"), f"{metrics[name]:,}"
    figures = {**_mapping(metrics, "figures"), **_mapping(metrics, "calibration")}
    for name, title in TITLES.items():
        if isinstance(figures.get(name), float):
            yield title, f"{figures[name]:.3f}, a point"
        with suppress(KeyError, TypeError, ValueError):
            yield title, str(Estimate.from_json(figures[name]))


def _show_differences(found: list[Differing]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for part, facts in _by_part(found).items():
        console.print(part, style="bold")
        for what, (one, other) in list(facts.items())[:_MOST_LINES]:
            said = [_brief(value, never=part == "thresholds") for value in (one, other)]
            if sum(map(len, said)) <= _MOST_CHARS:
                console.print(f"  {what}: {' -> '.join(said)}", markup=False)
            else:
                console.print(f"  {what}:\n    {said[0]}\n -> {said[1]}", markup=False)
        if len(facts) > _MOST_LINES:
            console.print(f"  and {len(facts) - _MOST_LINES} more: --json has all")


def _brief(value: object, *, never: bool) -> str:
    """A value on a line; a threshold that is never reached is null in the manifest."""
    if never and value is None:
        return "never"
    plain = isinstance(value, str) and value == value.strip() != ""
    text = _printable(str(value) if plain else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
