"""Reads a gate's outputs along with it, in a thread, and accounts at the end: for tests and for a watchful eye.

What it saw, it saw: a message that a read_committed reader was shown and that is gone later still counts.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from pipeline.account import Report
from pipeline.errors import BrokerUnreachable, TransientError
from pipeline.reconcile import Outputs, reconcile_topics
from pipeline.settings import Settings


class Follower:
    """A reader that keeps up with the outputs from `with` to `report`; a context manager.

    A broker that is down is borne: it is asked again. Any other error ends the thread, and `report` meets it.

    Args:
        settings: The gate's.
        run: The run number; by default the settings'.
        every_s: How often to look for more, in seconds.
    """

    def __init__(self, settings: Settings, *, run: int | None = None, every_s: float = 0.5) -> None:
        self._settings = settings
        self._every_s = every_s
        self._outputs = Outputs(settings, run=run)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._outputs.close()

    @property
    def n_seen(self) -> int:
        """Verdicts and rejects seen so far."""
        return sum(len(trail) for trail in list(self._outputs.sightings.trails.values()))

    def report(self, *, to_end: bool = False) -> Report:
        """Stop following, read the rest, and make up the account. Blocks; raises as `reconcile_topics` does."""
        self._stop()
        return reconcile_topics(self._settings, to_end=to_end, outputs=self._outputs)

    def _stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._outputs.catch_up(wait=False)
            except (TransientError, BrokerUnreachable):
                continue
