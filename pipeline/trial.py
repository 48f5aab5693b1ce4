"""Work that may kill its process, done in a process of its own, so that one learns what it was.

Promises: every item gets an answer, or is said to have ended the process that worked on it; one item ends
neither the asking process nor the work on the next. The process is started for the trial and gone after it,
also when who asked is killed. Knows no claim, no engine and no model.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, Generic, NamedTuple, Self, TypeVar

from pipeline.process import die_with_parent, kill_group

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MAX_PROCESSES = 8
"""Processes for one trial: starting one takes seconds, and where so many die it is not the one bad item."""
START_S = 60.0
"""How long a process may take until it can work: it loads what the asking one has loaded."""
ITEM_S = 30.0
"""How long one item may take before it counts as hung."""

_STDERR = 2  # by number: whoever runs this may have put something without one in the place of `sys.stderr`


class Died(NamedTuple):
    """In the place of an answer: the item was given up."""

    how: str
    """What became of the process that worked on it, for a person."""


class Trial(Generic[Item, Answer]):
    """Tries items one by one, in a process that may die of any of them. Nothing runs between two trials.

    Args:
        build: Makes what does the work, in the process; of a module, so that it can be pickled.
        limit_s: How long one trial may take, in seconds; what it does not come to is given up.
        item_s: How long one item may take, in seconds.
    """

    def __init__(
        self, build: Callable[[], Callable[[Item], Answer]], *, limit_s: float, item_s: float = ITEM_S
    ) -> None:
        self._build = build
        self._limit_s = limit_s
        self._item_s = item_s

    def __call__(self, items: Sequence[Item]) -> list[Answer | Died]:
        """Work on the items, in order. Blocks.

        An item that raises ends its process like any other: after an error of the device nothing that this
        process would say of the next item is worth much.

        Args:
            items: They and the answers are pickled.

        Returns:
            For each item its answer, or how it was given up: it ended its process, gave no answer in time, or
            was not tried, because so many processes had ended or the time was over.
        """
        deadline = time.monotonic() + self._limit_s
        answers: list[Answer | Died] = []
        for _ in range(MAX_PROCESSES):
            left = items[len(answers) :]
            if left and time.monotonic() < deadline:
                answers += self._until_it_dies(left, deadline)
        untried = Died(f"not tried: {MAX_PROCESSES} processes ended, or {self._limit_s:g} s were over")
        return answers + [untried] * (len(items) - len(answers))

    def _until_it_dies(self, items: Sequence[Item], deadline: float) -> Iterator[Answer | Died]:
        """What one process says of the items, and that it died of the last."""
        with _Process() as process:
            if not process.start(self._build, min(START_S, deadline - time.monotonic())):
                return
            for item in items:
                answer = process.ask(item, min(self._item_s, deadline - time.monotonic()))
                yield answer
                if isinstance(answer, Died):
                    return


class _Process:
    """One process that works. A context manager: leaving it ends the process."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.trial"],
                stdin=theirs.fileno(),
                stdout=_STDERR,
                # What was unpickled here must be found there, wherever the engine had it from.
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        kill_group(self._process)

    def start(self, build: Callable[[], Callable[[Any], Any]], timeout_s: float) -> bool:
        """Whether it is ready to work."""
        return not isinstance(self.ask((os.getpid(), build), timeout_s), Died)

    def ask(self, item: object, timeout_s: float) -> Any:  # noqa: ANN401 - whatever the work answers
        """The answer to an item; `Died` if there is none in time."""
        # Where the process ended with something still on its way, the socket raises instead of ending.
        with contextlib.suppress(EOFError, OSError):
            self._connection.send(item)
            if self._connection.poll(max(0.0, timeout_s)):
                return self._connection.recv()
            return Died(f"no answer within {timeout_s:.1f} s")
        try:
            code = self._process.wait(ITEM_S)
        except subprocess.TimeoutExpired:
            return Died("it stopped answering")
        return Died(f"signal {-code}" if code < 0 else f"exit code {code}")


def main() -> int:
    """Work on what comes in on standard input, a socket, until that ends."""
    connection = Connection(os.dup(sys.stdin.fileno()))
    parent, build = connection.recv()
    die_with_parent(parent)
    work = build()
    connection.send(None)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return 0
        connection.send(work(item))


if __name__ == "__main__":
    sys.exit(main())
