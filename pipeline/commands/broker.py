"""`sluice broker`: a real Kafka in the foreground, for whoever has none at hand.

Prints where it answers once it does, and runs until SIGINT or SIGTERM, which end it with exit code 0. What
keeps it from starting, or ends it early, is a `FatalError` with an exit code of its own.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from pipeline.kafka.embedded import EmbeddedKafka
from pipeline.kafka.jars import cache_folder

CHECK_EVERY_S = 0.5
MAX_PORT = 65535


def broker(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=MAX_PORT, help="Port of the first broker; 0: a free one.")
    ] = 9092,
    brokers: Annotated[int, typer.Option(min=1, max=9, help="How many, on consecutive ports.")] = 1,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps the topics; by default in the user's cache.", file_okay=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the addresses as one line of JSON.")] = False,
) -> None:
    """Run Apache Kafka on this machine until interrupted. Needs neither Java nor Docker.

    Exit codes: 69 it did not start, stopped by itself, or the port is taken, 75 another one uses the folder, 78
    the folder cannot be written to, or was made with another number of brokers.

    Example: sluice broker --port 9092 --brokers 3
    """
    if port + brokers - 1 > MAX_PORT:
        raise typer.BadParameter(
            f"{brokers} brokers take ports up to {port + brokers - 1}", param_hint="--port"
        )
    folder = data or cache_folder() / f"broker-{brokers}"
    with _until_interrupted(), EmbeddedKafka(data=folder, n_brokers=brokers, port=port) as kafka:
        if as_json:
            typer.echo(json.dumps({"bootstrap_servers": kafka.bootstrap_servers, "data": str(folder)}))
        else:
            typer.echo(
                f"Kafka answers at {kafka.bootstrap_servers}; its data is in {folder}. Ctrl-C stops it."
            )
        while True:
            time.sleep(CHECK_EVERY_S)
            kafka.check()


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """End the block, without an error, at SIGINT or SIGTERM; also where whoever started us ignores the first."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
