from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from actors.bundle import Bundle, write_bundle
from actors.errors import ActorError
from pipeline.bundles import local_bundle, open_with, pin
from pipeline.errors import BundleRefused
from tests.fakes import stand_in_bundle
from tests.hub import Hub, serving

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return stand_in_bundle(tmp_path)


@pytest.fixture
def other(bundle: Bundle, tmp_path: Path) -> Bundle:
    """Of another name, and so of another digest."""
    manifest = replace(bundle.manifest, name="other")
    return write_bundle(tmp_path / "other", model_folder=bundle.path, manifest=manifest)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, of this test alone; the folder of bundles in it."""
    monkeypatch.setenv("SLUICE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bundles"


@pytest.fixture
def stored(bundle: Bundle) -> Iterator[fsspec.AbstractFileSystem]:
    """A store that holds the bundle at `memory://shop/one`."""
    store = fsspec.filesystem("memory")
    store.put(f"{bundle.path}/", "/shop/one/", recursive=True)
    yield store
    store.rm("/shop", recursive=True)


def refusal(address: str) -> str:
    """In one line, with nothing left in the cache."""
    with pytest.raises(ActorError) as refused:
        local_bundle(address)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- a folder


def test_a_folder_is_where_it_is(bundle: Bundle) -> None:
    assert local_bundle(str(bundle.path)) == bundle.path
    assert local_bundle(pin(str(bundle.path), bundle.digest)) == bundle.path


def test_a_folder_where_another_bundle_took_the_place_of_the_one_that_was_meant_is_refused(
    bundle: Bundle, other: Bundle
) -> None:
    """A gate's later replicas scored with whatever was there when they were built."""
    address = pin(str(bundle.path), bundle.digest)
    shutil.rmtree(bundle.path)
    shutil.copytree(other.path, bundle.path)
    with pytest.raises(BundleRefused, match=f"{bundle.digest} was asked for: another bundle took its place"):
        open_with(Bundle.open, address)


def test_an_address_that_is_pinned_stays_as_it_is() -> None:
    digest = "sha256:" + "0" * 64
    assert pin("s3://a/b", digest) == f"s3://a/b#{digest}"
    assert pin(f"s3://a/b#{digest}", "sha256:" + "1" * 64) == f"s3://a/b#{digest}"


@pytest.mark.parametrize("pin", ["#sha256:abc", f"#sha256:{'A' * 64}", f"#SHA256:{'a' * 64}"])
@pytest.mark.parametrize("place", ["out/bundle", "memory://shop/bundle"])
def test_a_digest_that_is_none_is_said_to_be_so(place: str, pin: str) -> None:
    """It was taken for a part of the folder's name: "no sluice.json there"."""
    assert "64 digits" in refusal(place + pin)


def test_a_folder_may_have_the_sign_of_a_digest_in_its_name(bundle: Bundle, tmp_path: Path) -> None:
    odd = shutil.move(bundle.path, tmp_path / "a#sha256:b")
    assert Bundle.open(local_bundle(str(odd))).digest == bundle.digest
    assert Bundle.open(local_bundle(pin(str(odd), bundle.digest))).digest == bundle.digest


# --- a store


def test_what_a_store_holds_is_copied_once_and_is_the_same(
    bundle: Bundle, stored: fsspec.AbstractFileSystem, cache: Path
) -> None:
    folder = local_bundle("memory://shop/one")
    assert Bundle.open(folder).digest == bundle.digest
    assert [entry.name for entry in cache.iterdir()] == [bundle.digest.replace(":", "-")]
    written_at = folder.stat().st_mtime_ns
    assert local_bundle("memory://shop/one/") == folder
    assert folder.stat().st_mtime_ns == written_at


def test_an_address_of_files_is_copied_too(bundle: Bundle) -> None:
    folder = local_bundle(bundle.path.as_uri())
    assert folder != bundle.path
    assert Bundle.open(folder).digest == bundle.digest


def test_a_pinned_bundle_that_is_here_needs_its_store_no_more(
    bundle: Bundle, stored: fsspec.AbstractFileSystem
) -> None:
    address = pin("memory://shop/one", bundle.digest)
    folder = local_bundle(address)
    stored.rm("/shop/one", recursive=True)
    assert local_bundle(address) == folder
    assert "cannot be fetched: FileNotFoundError" in refusal("memory://shop/one")
    stored.touch("/shop/any")


def test_another_bundle_at_the_address_is_refused_where_it_is_pinned_and_taken_where_not(
    bundle: Bundle, other: Bundle, stored: fsspec.AbstractFileSystem
) -> None:
    stored.put(f"{other.path}/", "/shop/one/", recursive=True)
    assert "was asked for" in refusal(pin("memory://shop/one", bundle.digest))
    assert Bundle.open(local_bundle("memory://shop/one")).digest == other.digest


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("model.safetensors", b"other weights", "model.safetensors was altered"),
        ("pytorch_model.bin", b"", "pytorch_model.bin may be pickled"),
        ("modeling.py", b"", "modeling.py not in the manifest"),
        ("config.json", None, "config.json missing"),
        ("sluice.json", None, "cannot be fetched"),
        ("sluice.json", b"{}", "sluice.json is not a manifest"),
        ("sluice.json", b'{"schema": 4, "digest": ""}', "schema 4 is newer"),
    ],
    ids=str,
)
def test_what_is_not_whole_is_refused_by_its_address_and_never_kept(
    stored: fsspec.AbstractFileSystem, cache: Path, name: str, content: bytes | None, problem: str
) -> None:
    if content is None:
        stored.rm(f"/shop/one/{name}")
    else:
        stored.pipe(f"/shop/one/{name}", content)
    said = refusal("memory://shop/one")
    assert said.startswith("bundle memory://shop/one: ")
    assert problem in said
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("nosuch://a/b", "cannot be fetched: ValueError: Protocol not known: nosuch"),
        ("file:///nowhere/at/all", "cannot be fetched: FileNotFoundError"),
        ("s3://[", "cannot be fetched"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused_in_one_line(address: str, problem: str) -> None:
    assert problem in refusal(address)


def test_a_password_does_not_go_with_an_address_and_is_not_repeated() -> None:
    said = refusal("ftp://me:secret@host/bundle")
    assert "no password goes with an address" in said
    assert "secret" not in said


def test_several_who_fetch_at_once_get_one_whole_copy(bundle: Bundle, cache: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(local_bundle, [bundle.path.as_uri()] * 8))
    assert len(set(folders)) == 1
    assert Bundle.open(folders[0]).digest == bundle.digest
    assert list(cache.iterdir()) == [folders[0]]


def test_a_copy_that_was_altered_is_refused_when_it_is_opened(stored: fsspec.AbstractFileSystem) -> None:
    folder = local_bundle("memory://shop/one")
    (folder / "model.safetensors").write_text("other weights")
    with pytest.raises(BundleRefused, match=r"model\.safetensors was altered"):
        open_with(Bundle.open, "memory://shop/one")


def test_what_a_killed_process_had_fetched_does_not_stay_in_the_cache(bundle: Bundle, cache: Path) -> None:
    """Each gate that was killed while it fetched its bundle left a part of it behind, for ever."""
    (left, busy) = (cache / ".sluice-left", cache / ".sluice-busy")
    long_ago = time.time() - 7200
    for draft in (left, busy):
        draft.mkdir(parents=True)
        (draft / "model.safetensors").write_bytes(b"half")
    for old in (left / "model.safetensors", left, busy):
        os.utime(old, (long_ago, long_ago))
    local_bundle(f"file://{bundle.path}")
    assert not left.exists()
    assert busy.exists()


def test_a_disk_that_is_full_leaves_nothing_in_the_cache(bundle: Bundle, cache: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        said = refusal(bundle.path.as_uri())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot be fetched: OSError: [Errno 27] File too large" in said
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_said_in_one_line(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SLUICE_CACHE", str(tmp_path / "file"))
    assert "cannot be fetched: NotADirectoryError" in refusal(bundle.path.as_uri())


def test_a_bundle_may_be_in_an_archive(bundle: Bundle, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "bundles"), "zip", tmp_path, "bundle")
    assert Bundle.open(local_bundle(f"zip://bundle::file://{archive}")).digest == bundle.digest


# --- the hub


@pytest.fixture
def hub(bundle: Bundle) -> Iterator[Hub]:
    (bundle.path / ".gitattributes").write_text("*.safetensors filter=lfs")
    with serving(bundle.path, "shop/one", REVISION) as one:
        yield one


def fetched(hub: Hub, address: str, cache: Path) -> tuple[str, str]:
    """What `local_bundle` said, in a process whose hub is ours, and its complaint."""
    program = "import sys; from pipeline.bundles import local_bundle; print(local_bundle(sys.argv[1]))"
    own = {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(cache / "hf"),
        "SLUICE_CACHE": str(cache),
        "HF_HUB_DISABLE_XET": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", program, address],
        check=False,
        env=os.environ | own,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.stdout.strip(), done.stderr.strip()


def test_a_revision_of_the_hub_is_fetched_once(hub: Hub, bundle: Bundle, tmp_path: Path) -> None:
    folder, complaint = fetched(hub, f"hf://shop/one@{REVISION}", tmp_path / "cache")
    assert folder == str(tmp_path / "cache" / "bundles" / f"shop--one@{REVISION}"), complaint
    assert Bundle.open(folder).digest == bundle.digest
    hub.asked.clear()
    again, _ = fetched(hub, pin(f"hf://shop/one@{REVISION}", bundle.digest), tmp_path / "cache")
    assert (again, hub.asked) == (folder, [])


def test_what_the_hub_holds_beside_a_bundle_is_refused_and_not_fetched(hub: Hub, tmp_path: Path) -> None:
    (hub.folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    folder, complaint = fetched(hub, f"hf://shop/one@{REVISION}", tmp_path / "cache")
    assert folder == ""
    assert complaint.endswith(
        f"bundle hf://shop/one@{REVISION}: pytorch_model.bin may be pickled, and what is can run code; "
        "weights are in model.safetensors"
    )
    assert not any(asked.endswith(".bin") for asked in hub.asked)
    assert list((tmp_path / "cache" / "bundles").iterdir()) == []


def test_a_repository_that_is_not_there_is_said_in_one_line(hub: Hub, tmp_path: Path) -> None:
    folder, complaint = fetched(hub, f"hf://shop/two@{REVISION}", tmp_path / "cache")
    assert folder == ""
    assert (
        f"bundle hf://shop/two@{REVISION}: cannot be fetched: RepositoryNotFoundError"
        in complaint.splitlines()[-1]
    )


@pytest.mark.parametrize(
    "address",
    [
        "hf://shop/one",
        "hf://shop/one@main",
        "hf://shop/one@v1.0",
        f"hf://one@{REVISION}",
        "hf://shop/one@0123",
    ],
)
def test_what_may_mean_another_bundle_tomorrow_is_refused(address: str) -> None:
    said = refusal(address)
    assert said.startswith(f"bundle {address}: ")
    assert "40 digits of a commit: a branch or tag may mean another bundle tomorrow" in said
