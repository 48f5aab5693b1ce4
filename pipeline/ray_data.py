"""Ray Data as an endless flow of small blocks needs it: what is set, and the one thing that is replaced.

Promises: what Ray Data was built for, bulk work that ends, is turned off here and nowhere else. It knows no
claim and no stage. The one replacement is of an internal of Ray's, and a test fails when Ray moves it.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import ray
from ray.data import DataContext
from ray.data._internal.execution import streaming_executor_state

GATHER_S = 0.02
"""How long Ray Data's scheduler waits for company once something has come. Each block passes the scheduler three
times, and every pass of its loop costs it 3 ms, whatever there is to do."""

_ASKING = ("StreamingExecutor", "iter_threaded", "ray-data-metadata-prefetch")
"""How the names of those threads of Ray Data begin that ask Ray for something."""
_SETTLED_S = 30.0
"""How long such a thread may take to end. Its flow is over: it takes as long only on a machine that stalls."""


def adopt() -> None:
    """Make Ray Data fit, in this process. Calling it again changes nothing."""
    data = DataContext.get_current()
    data.target_max_block_size = 1  # every row is handed on at once; with default blocks a trickle never is
    data.execution_no_progress_timeout_s = -1  # a quiet stream is no failure
    data.max_consecutive_actor_init_deaths = 3  # one node lost while a model loads must not end it
    data.max_errored_blocks = 0  # a block that failed must end the execution, never vanish
    data.execution_options.preserve_order = False
    data.enable_progress_bars = False
    data.print_on_execution_start = False
    streaming_executor_state.ray = SimpleNamespace(wait=wait)
    _quiet()


def wait(
    waitables: Sequence[Any], *, num_returns: int, timeout: float, fetch_local: bool
) -> tuple[list[Any], list[Any]]:
    """`ray.wait`, which comes back soon after the first has come.

    The scheduler waits for *all* of its tasks, and looks at what came when 100 ms are over. With a source that
    never ends it is never all, so that a block takes a third of a second to pass the three operators, however
    quiet the stream is.

    Args:
        waitables: What is waited for.
        num_returns: How many would end the wait at once.
        timeout: How long to wait for the first, in seconds.
        fetch_local: As Ray has it.

    Returns:
        What is ready, and the rest.
    """
    ready, rest = ray.wait(waitables, num_returns=1, timeout=timeout, fetch_local=fetch_local)
    if ready:
        ready, rest = ray.wait(waitables, num_returns=num_returns, timeout=GATHER_S, fetch_local=fetch_local)
    return ready, rest


def settle() -> None:
    """Wait until no flow of this process asks Ray for anything more; to be called before `ray.shutdown`.

    A flow that is left early ends in its threads only after it has ended for who reads it, and Ray ends a process
    on the spot, with exit code 1, that asks for something while it is shut down.
    """
    deadline = time.monotonic() + _SETTLED_S
    for thread in threading.enumerate():
        if thread.name.startswith(_ASKING):
            thread.join(max(0.0, deadline - time.monotonic()))


def _quiet() -> None:
    """Silence what Ray Data says of every execution; why one failed, the runner says in one line."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # `max_restarts` and `max_task_retries` have no other way in until Ray 2.64 renames them.
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
