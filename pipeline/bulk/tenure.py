"""One backfill per folder: whoever writes there holds it, and a second one is refused.

On this machine the folder is locked, and the lock ends with its process however that ends. A store has no locks:
there a note is left and renewed, and who finds a fresh one stays away; two who begin in the same second may both
see their note overwritten, and then one of them goes. Clocks may differ: a note that is not fresh is watched for a
while, because whoever lives renews it.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.bulk.store import Store
from pipeline.errors import BackfillRefused, TransientError

LOCK = ".lock"
RENEW_S = 10.0
STALE_S = 60.0
"""A note that was not renewed for so long is of a backfill that was killed."""
WATCH_S = 25.0
"""How long one that is not fresh is watched: who lives has renewed it twice by then."""
SETTLE_S = 1.0
"""How long the note of another who began at the same time may be on its way."""


@contextmanager
def held(store: Store) -> Iterator[None]:
    """Hold the folder while the block runs.

    Args:
        store: The folder.

    Yields:
        Nothing.

    Raises:
        BackfillRefused: Another backfill holds it.
    """
    with _locked(store.folder) if store.folder is not None else _noted(store):
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BackfillRefused(str(folder), f"cannot be written to: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackfillRefused(str(folder), "another backfill is writing there; wait for it") from error
        except OSError as error:
            problem = f"cannot be locked: {error.strerror}; name a folder in another file system"
            raise BackfillRefused(str(folder), problem) from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _noted(store: Store) -> Iterator[None]:
    mine = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    _refuse_another(store, mine)
    _note(store, mine)
    time.sleep(SETTLE_S)
    _refuse_another(store, mine)
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(store, mine, ended), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        with suppress(TransientError):  # it grows stale, and hides neither what was done nor why it ended
            store.remove(LOCK)


def _renew(store: Store, mine: str, ended: threading.Event) -> None:
    while not ended.wait(RENEW_S):
        with suppress(TransientError):  # there is time for several tries
            _note(store, mine)


def _note(store: Store, mine: str) -> None:
    store.put(LOCK, json.dumps({"holder": mine, "at": time.time()}).encode())


def _refuse_another(store: Store, mine: str) -> None:
    said = _said(store)
    if said is None or said[0] == mine:
        return
    age_s = time.time() - said[1]
    if 0.0 <= age_s < STALE_S:
        problem = (
            f"another backfill ({said[0]}) wrote there {age_s:.0f} s ago; wait for it, or, if it "
            f"was killed, try again in {STALE_S - age_s:.0f} s"
        )
        raise BackfillRefused(store.address, problem)
    time.sleep(WATCH_S)
    now = _said(store)  # of whom it was watched, or of one that began meanwhile
    if now is not None and now != said:
        raise BackfillRefused(store.address, f"another backfill ({now[0]}) is writing there; wait for it")


def _said(store: Store) -> tuple[str, float] | None:
    """Who holds the folder, and since when it was last heard of; None where there is no note."""
    content = store.get(LOCK)
    if content is None:
        return None
    try:
        said = json.loads(content)
        return str(said["holder"]), float(said["at"])
    except (ValueError, TypeError, KeyError) as error:
        problem = f"its {LOCK} is damaged; remove it, if no backfill is writing there"
        raise BackfillRefused(store.address, problem) from error
