"""Work that does to its process what its item says. Small, because a process is started for each of its deaths."""

from __future__ import annotations

import os
import time
from collections.abc import Callable


def build() -> Callable[[object], object]:
    return work


def build_never() -> Callable[[object], object]:
    raise RuntimeError("there is nothing to work with")


def work(item: object) -> object:
    match item:
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "raise":
            raise RuntimeError("the device gave up")
        case "hang":
            time.sleep(60)
        case "say":
            print("noise on standard output", flush=True)
        case "pid":
            return os.getpid()
    return item
