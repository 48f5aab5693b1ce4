"""What a test has to leave behind of threads: none."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection


def none_is_left_but(before: Collection[threading.Thread], *, within_s: float = 60.0) -> bool:
    """Whether all threads end that were not there before; those that were may end meanwhile."""
    deadline = time.monotonic() + within_s
    while left := set(threading.enumerate()).difference(before):
        left.pop().join(max(0.0, deadline - time.monotonic()))
        if time.monotonic() > deadline:
            return False
    return True
