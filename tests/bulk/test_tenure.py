"""Of two backfills that want one folder, one is refused."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.bulk import tenure
from pipeline.bulk.store import Store
from pipeline.bulk.tenure import LOCK, held
from pipeline.errors import BackfillRefused, TransientError

HOLD = """
import sys, time
from pipeline.bulk.store import Store
from pipeline.bulk.tenure import held
with held(Store(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenure, "SETTLE_S", 0.05)
    monkeypatch.setattr(tenure, "RENEW_S", 0.05)
    monkeypatch.setattr(tenure, "WATCH_S", 0.5)


def test_a_folder_is_held_until_its_holder_ends_however_that_is(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, out], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(BackfillRefused, match="another backfill is writing there"), held(Store(out)):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with held(Store(out)):
        pass


def test_a_store_is_held_by_a_note_that_is_renewed() -> None:
    store = Store("memory://held")
    with held(store):
        first = json.loads(store.get(LOCK) or b"")["at"]
        deadline = time.monotonic() + 60
        while json.loads(store.get(LOCK) or b"")["at"] == first and time.monotonic() < deadline:
            time.sleep(0.02)
        assert json.loads(store.get(LOCK) or b"")["at"] > first
        with (
            pytest.raises(BackfillRefused, match=r"wrote there \d s ago.*try again in [56]\d s"),
            held(store),
        ):
            pass
    assert store.get(LOCK) is None


def test_a_note_that_nobody_renews_holds_nothing() -> None:
    store = Store("memory://stale")
    store.put(LOCK, json.dumps({"holder": "gone", "at": time.time() - 61}).encode())
    with held(store):
        pass


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
def test_clocks_that_differ_neither_let_two_in_nor_keep_one_out(
    monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    """A clock an hour slow let a second one in; one that was fast held the folder for an hour after its end."""
    store = Store(f"memory://clocks{ahead_s}")
    note = json.dumps({"holder": "gone", "at": time.time() + ahead_s}).encode()
    store.put(LOCK, note)
    with held(store):
        pass

    def now() -> float:
        """The holder renews in a thread, by its own clock."""
        here = threading.current_thread() is threading.main_thread()
        return time.time() + (ahead_s if here else 0)

    def renewed(_: float) -> None:
        before, deadline = store.get(LOCK), time.monotonic() + 60
        while store.get(LOCK) == before and time.monotonic() < deadline:
            time.sleep(0.01)

    with held(store):
        monkeypatch.setattr(tenure, "time", SimpleNamespace(time=now, sleep=renewed))
        with pytest.raises(BackfillRefused, match="is writing there; wait for it"), held(store):
            pass


def test_who_began_while_a_stale_note_was_watched_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was killed was said to be writing."""
    store = Store("memory://began")
    store.put(LOCK, json.dumps({"holder": "gone", "at": time.time() - 61}).encode())
    clock = SimpleNamespace(time=time.time, sleep=lambda _: tenure._note(store, "the other"))
    monkeypatch.setattr(tenure, "time", clock)
    with pytest.raises(BackfillRefused, match=r"another backfill \(the other\)"), held(store):
        pass


@pytest.mark.parametrize("note", [b"", b"{}", b"[]", b"null", b'{"holder": "a", "at": "now"}'])
def test_a_note_that_cannot_be_read_is_refused(note: bytes) -> None:
    """It ended the command with a traceback, and so every `--resume`."""
    store = Store("memory://damaged")
    store.put(LOCK, note)
    with pytest.raises(BackfillRefused, match=r"its \.lock is damaged; remove it"), held(store):
        pass
    assert store.get(LOCK) == note


def test_a_note_that_cannot_be_removed_hides_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished run was said to have failed, and what a run had ended by was not said."""

    def refuse(_: str) -> None:
        raise TransientError("removing", "away")

    store = Store("memory://kept")
    monkeypatch.setattr(store, "remove", refuse)
    with held(store):
        pass


def test_a_folder_that_cannot_be_locked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems have no locks; that ended in a traceback."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(tenure.fcntl, "flock", refuse)
    with (
        pytest.raises(BackfillRefused, match="cannot be locked: No locks available"),
        held(Store(str(tmp_path))),
    ):
        pass


def test_of_two_that_began_at_once_the_one_whose_note_was_overwritten_goes() -> None:
    store = Store("memory://raced")
    note = tenure._note

    def overwritten(to: Store, mine: str) -> None:
        note(to, mine)
        note(to, "the other")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tenure, "_note", overwritten)
        with pytest.raises(BackfillRefused, match="the other"), held(store):
            pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackfillRefused, match="cannot be written to"), held(Store(str(tmp_path / "file"))):
        pass
