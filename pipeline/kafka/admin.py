"""One question or order to the cluster, through a connection of its own, within a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from pipeline.errors import TransientError
from pipeline.kafka.client import open_client, translated

T = TypeVar("T")

DEADLINE_S = 15.0
_PAUSE_S = 0.2


def ask(
    kafka: Mapping[str, Any], question: Callable[[KafkaAdminClient], T], *, deadline_s: float, doing: str
) -> T:
    """Put a question, again while the cluster says that it may yet answer. Blocks.

    Args:
        kafka: Client settings, see `client.connection`.
        question: Asks through the client that it is given; may be called more than once.
        deadline_s: For how long, in seconds.
        doing: What is being done, for an error.

    Returns:
        What the question returned.

    Raises:
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us.
        TransientError: Another error of the broker's.
    """
    until = time.monotonic() + deadline_s
    deadline_ms = round(deadline_s * 1000)
    within = {"bootstrap_timeout_ms": deadline_ms, "request_timeout_ms": deadline_ms}
    admin = open_client(KafkaAdminClient, {**within, **kafka})
    try:
        while True:
            try:
                with translated(doing):
                    return question(admin)
            except TransientError as error:
                passing = isinstance(error.__cause__, kafka_errors.RetriableError)
                if not passing or time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_S)
    finally:
        admin.close()
