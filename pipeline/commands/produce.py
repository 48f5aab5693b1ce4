"""`sluice produce`: candidates into the input topic, from a file or from the generated catalogue."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from pipeline.candidate_files import Columns, read_candidates
from pipeline.candidates import SINGLES, Batching, Message, messages
from pipeline.commands.options import Config, Json, Overrides, settings_from
from pipeline.generated import catalogue_messages
from pipeline.produce import Produced, send


class Compression(enum.StrEnum):
    """Codecs that a broker understands and Sluice installs."""

    NONE = "none"
    LZ4 = "lz4"
    ZSTD = "zstd"
    GZIP = "gzip"


def produce(  # noqa: PLR0913 - one parameter per option: typer reads the command line off the signature
    path: Annotated[Path | None, typer.Argument(help="Parquet or JSON lines.", show_default=False)] = None,
    *,
    config: Config = None,
    overrides: Overrides = None,
    catalogue: Annotated[
        int | None, typer.Option(min=1, help="Instead of a file: so many generated candidates.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the catalogue.")] = 1,
    malformed: Annotated[
        float, typer.Option(min=0, max=1, help="Of the catalogue: rejects per candidate.")
    ] = 0.0,
    id_: Annotated[
        str, typer.Option("--id", help="Columns of the id, separated by commas.")
    ] = "candidate_id",
    query: Annotated[str, typer.Option(help="Columns of the query; several become fields.")] = "query",
    document: Annotated[str, typer.Option(help="Columns of the document; likewise.")] = "document",
    batch_share: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of the candidates that go in batch messages.", show_default=False
        ),
    ] = None,
    batch_rows: Annotated[
        int | None,
        typer.Option(min=1, help="Candidates in a batch message; alone, it puts all in batches."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Messages per second.", show_default=False)
    ] = None,
    compression: Annotated[Compression, typer.Option(help="Codec.")] = Compression.NONE,
    as_json: Json = False,
) -> None:
    """Produce candidates into the input topic, one JSON message each, or Arrow batches.

    What the file lacks is produced as it is, for the gate to reject; what cannot be read ends it, with the place.
    Exit codes: 65 the file cannot be read, 69 no broker, 75 a message was not delivered, 77 the broker
    refuses us, 78 settings.

    Example: `sluice produce items.parquet --id sku --query theme --document title,brand --batch-rows 256`

    Example: `sluice produce --catalogue 3000 --batch-share 0.2 --batch-rows 64 --malformed 0.01`
    """
    settings = settings_from(config, overrides)
    batching = _batching(batch_share, batch_rows)
    source: Iterator[Message]
    total: int | None
    if path is not None and catalogue is None:
        columns = Columns(*(tuple(names.split(",")) for names in (id_, query, document)))
        rows, total = read_candidates(path, columns)
        source = messages(rows, batching)
    elif catalogue is not None and path is None:
        source = catalogue_messages(catalogue, seed=seed, batching=batching, malformed=malformed)
        total = catalogue
    else:
        raise typer.BadParameter("name a file or give --catalogue, one of the two")
    codec = None if compression is Compression.NONE else compression.value
    with _progress(total) as bar:
        produced = send(settings, source, rate=rate, compression=codec, on_progress=bar)
    if as_json:
        typer.echo(json.dumps(produced.as_dict()))
        return
    typer.echo(
        f"{produced.messages:,} messages to {settings.topics.input}: {produced.candidates:,} candidates, "
        f"{produced.malformed:,} malformed, in {produced.seconds:.1f} s"
    )


def _batching(share: float | None, rows: int | None) -> Batching:
    if share is None:
        share = 0.0 if rows is None else 1.0
    return Batching(share, SINGLES.rows if rows is None else rows)


class _Bar:
    """Shows how many candidates were sent."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("producing", total=total)

    def __call__(self, produced: Produced) -> None:
        self._progress.update(self._task, completed=produced.candidates)


@contextmanager
def _progress(total: int | None) -> Iterator[_Bar]:
    """A bar on standard error, nothing where that is no terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Bar(progress, total)
