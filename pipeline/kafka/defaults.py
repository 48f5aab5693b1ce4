"""What Sluice sets of kafka-python's settings unless the user does. Knows no client, as who checks settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULTS: Mapping[str, Any] = {
    "client_id": "sluice",
    "bootstrap_timeout_ms": 10_000,
    "request_timeout_ms": 15_000,
    # After a broker's death the library would wait up to 30 s between attempts, and up to 5 min to learn
    # of a new leader; a gate should be back within seconds of the broker.
    "reconnect_backoff_max_ms": 1_000,
    "metadata_max_age_ms": 30_000,
}
"""In kafka-python's names; times in milliseconds, as it has them."""
