"""A folder, wherever it is: files are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.bulk.store import Store
from pipeline.errors import BackfillRefused, TransientError


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path: Path) -> Store:
    address = str(tmp_path / "out") if request.param == "folder" else f"memory://{tmp_path.name}-out"
    return Store(address)


def test_what_was_put_is_there_and_what_replaces_it_too(store: Store) -> None:
    assert store.get("a/b.json") is None
    assert store.names() == []
    store.put("a/b.json", b"one")
    store.put("a/b.json", b"two")
    store.put("c", b"")
    assert (store.get("a/b.json"), store.get("c")) == (b"two", b"")
    assert (store.names(), store.names("a"), store.names("x")) == (["a/b.json", "c"], ["a/b.json"], [])


def test_what_was_removed_is_gone(store: Store) -> None:
    store.put("a/b", b"x")
    store.remove("a/b")
    store.remove("a/b")
    assert store.get("a/b") is None


def test_a_file_that_could_not_be_written_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    store = Store(str(tmp_path))
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(TransientError, match=r"writing .*/a/b: .*No space left"):
        store.put("a/b", b"x")
    assert os.listdir(tmp_path / "a") == []


def test_what_is_moved_into_place_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the power failed, a part could be marked done while its verdicts were empty files."""
    done = []
    fsync, replace = os.fsync, os.replace

    def written(descriptor: int) -> None:
        done.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    def moved(draft: str, path: str) -> None:
        done.append(Path(path).name)
        replace(draft, path)

    monkeypatch.setattr(os, "fsync", written)
    monkeypatch.setattr(os, "replace", moved)
    Store(str(tmp_path)).put("a/b", b"whole")
    assert done == [5, "b"]


def test_a_draft_of_who_was_killed_is_no_file(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.put("a/b", b"whole")
    draft = tmp_path / "a" / ".sluice-0123"
    draft.write_bytes(b"half")
    assert store.names() == ["a/b"]
    store.sweep()
    assert not draft.exists()
    assert store.names() == ["a/b"]


def test_it_knows_what_lies_within_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "in"))
    assert store.holds(str(tmp_path / "in" / "out"))
    assert store.holds(str(tmp_path / "in"))
    assert not store.holds(str(tmp_path / "inner"))
    assert not store.holds("memory://in")


def test_a_pattern_holds_what_lies_in_a_folder_that_it_fits(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "in-*"))
    assert store.holds(str(tmp_path / "in-1" / "deep" / "out"))
    assert not store.holds(str(tmp_path / "out"))
    assert not store.holds(str(tmp_path))
    assert Store(str(tmp_path / "in[1]")).holds(str(tmp_path / "in[1]" / "out"))
    assert Store("/").holds(str(tmp_path))
    assert Store("memory://").holds("memory://out")


def test_a_store_that_is_none_is_refused() -> None:
    with pytest.raises(BackfillRefused, match="nowhere"):
        Store("nowhere://a")
    with pytest.raises(BackfillRefused, match="no password goes with") as refused:
        Store("s3://user:hidden@bucket")
    assert "hidden" not in str(refused.value)
