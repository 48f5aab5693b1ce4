"""Where a bundle is, and how it gets here: a folder, an address that fsspec knows, or a revision on the hub.

Promises that what is fetched is whole, and was checked before anybody sees it; that two who fetch at once do not
meet; and that an address which can mean only one bundle (`#sha256:…`, or a revision of the hub) is fetched once.
Credentials are the libraries' business: they come from the environment, never with the address.
"""

from __future__ import annotations

import logging
import posixpath
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from actors.batching import padded_widths
from actors.bundle import FILES, MANIFEST_FILE, Bundle, check_names, read_manifest
from actors.errors import ActorError, BundleProblem, DigestMismatch
from actors.files import draft_beside, sweep_drafts
from pipeline.errors import BundleRefused
from pipeline.kafka.jars import cache_folder

if TYPE_CHECKING:
    from pipeline.serving.settings import ServeSettings
    from pipeline.settings import Settings

logger = logging.getLogger(__name__)

Opened = TypeVar("Opened")

_PINNED = re.compile(r"(?P<location>.+)#(?P<digest>sha256:[0-9a-f]{64})", re.DOTALL)
_MEANT_AS_PIN = re.compile(r"#sha256:[^/]*$", re.IGNORECASE)
_HUB = "hf://"
_ON_HUB = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})")
WITH_PASSWORD = re.compile(r"//[^@/]*:[^@/]*@")
_LEFT_BEHIND_S = 3600.0
"""A download that wrote nothing for so long is over: its process was killed."""
_OF_THE_HUB = {".gitattributes"}
"""What the hub puts into every repository by itself."""


def open_with(opener: Callable[[Path], Opened], address: str) -> Opened:
    """Open a bundle where a gate needs it.

    Args:
        opener: Opens the folder, such as `Bundle.open`.
        address: See `local_bundle`.

    Returns:
        What the opener gave.

    Raises:
        BundleRefused: The bundle, or what it should run on, must not be used.
    """
    try:
        return opener(local_bundle(address))
    except ActorError as error:
        raise BundleRefused(str(error)) from error


def open_bundle(settings: Settings | ServeSettings) -> Bundle:
    """Open the bundle of a gate or a door, every digest checked; one that is elsewhere is fetched first.

    Args:
        settings: With its address.

    Returns:
        The bundle.

    Raises:
        BundleRefused: It must not be used.
        SettingsError: Its longest pair does not fit `pool.budget_tokens`.
    """
    bundle = open_with(Bundle.open, settings.bundle)
    longest = int(padded_widths([bundle.manifest.max_tokens])[0])
    budget = settings.pool.budget_tokens
    if longest > budget:
        problem = f"{budget} tokens hold no pair of this bundle, which takes up to {longest}; allow as many"
        raise settings.refuse("pool.budget_tokens", problem)
    return bundle


def local_bundle(address: str) -> Path:
    """The folder of a bundle on this machine. Blocks while one is fetched; safe to call at once.

    Args:
        address: A folder; an address that fsspec knows (`s3://…`, `file://…`); or `hf://owner/name@<revision>`,
            the 40 digits of a commit. After any of them `#sha256:<hex>` says which digest it must have.

    Returns:
        The folder itself, or that of a copy in the user's cache. Whoever opens it checks its files.

    Raises:
        BundleProblem: There is no such bundle, or it cannot be fetched.
        DigestMismatch: What was fetched had been altered.
    """
    pinned = _PINNED.fullmatch(address)
    location, digest = (pinned["location"], pinned["digest"]) if pinned else (address, None)
    if pinned is None and _MEANT_AS_PIN.search(address) and not Path(address).exists():
        raise BundleProblem(address, "after #sha256: come the 64 digits of its digest, 0 to 9 and a to f")
    if location.startswith(_HUB):
        folder = _from_hub(location)
    elif "://" in location:
        folder = _from_store(location, digest)
    else:
        folder = Path(location)
    if digest is not None:
        _, found = read_manifest(folder)
        if found != digest:
            problem = f"it has the digest {found}, and {digest} was asked for: another bundle took its place"
            raise BundleProblem(location, problem)
    return folder


def pin(address: str, digest: str) -> str:
    """The address, so that it can only mean this bundle.

    Args:
        address: See `local_bundle`.
        digest: Of the bundle that it meant when it was opened.

    Returns:
        The address with the digest.
    """
    return address if _PINNED.fullmatch(address) else f"{address}#{digest}"


def _from_hub(location: str) -> Path:
    """The copy of a revision, fetched unless it is there."""
    named = _ON_HUB.fullmatch(location)
    if named is None:
        problem = (
            "write hf://owner/name@revision with the 40 digits of a commit: a branch or tag may mean another "
            "bundle tomorrow"
        )
        raise BundleProblem(location, problem)
    target = _cache() / f"{named['repo'].replace('/', '--')}@{named['revision']}"
    if target.exists():
        return target
    import huggingface_hub  # noqa: PLC0415 - most gates need no hub

    with _fetching(location, target) as draft:
        repo, revision = named["repo"], named["revision"]
        listed = set(huggingface_hub.HfApi().list_repo_files(repo, revision=revision)) - _OF_THE_HUB
        wanted = [MANIFEST_FILE, *FILES]
        huggingface_hub.snapshot_download(repo, revision=revision, local_dir=draft, allow_patterns=wanted)
        shutil.rmtree(draft / ".cache", ignore_errors=True)  # the library's notes about the download
        manifest, _ = read_manifest(draft)
        check_names(location, named=set(manifest.files), present=listed - {MANIFEST_FILE})
        return _in_place(draft, target)


def _from_store(location: str, digest: str | None) -> Path:
    """The copy of what is at an address: found by its digest, which the address names, or the manifest there."""
    if WITH_PASSWORD.search(location):
        raise BundleProblem(
            WITH_PASSWORD.sub("//", location),
            "no password goes with an address; give it to the library, by the environment",
        )
    if digest is not None and (known := _cache() / _folder_name(digest)).exists():
        return known
    import fsspec  # noqa: PLC0415

    with _fetching(location, _cache() / "any") as draft:
        store, root = fsspec.core.url_to_fs(location)
        store.invalidate_cache()  # a listing from before would show another bundle's files
        store.get_file(posixpath.join(root, MANIFEST_FILE), str(draft / MANIFEST_FILE))
        manifest, found = read_manifest(draft)
        target = _cache() / _folder_name(found)
        if target.exists():
            return target
        present = set(manifest.files)
        with suppress(FileNotFoundError, NotImplementedError):  # a web server lists nothing
            entries = store.ls(root, detail=False)
            present = {PurePosixPath(entry).name for entry in entries if entry.strip("/") != root.strip("/")}
        check_names(location, named=set(manifest.files), present=present - {MANIFEST_FILE})
        for name in manifest.files:
            store.get_file(posixpath.join(root, name), str(draft / name))
        return _in_place(draft, target)


def _cache() -> Path:
    return cache_folder() / "bundles"


def _folder_name(digest: str) -> str:
    return digest.replace(":", "-")


def _in_place(draft: Path, target: Path) -> Path:
    """Check what was fetched, and rename it; where somebody was quicker, theirs was checked, too."""
    Bundle.open(draft)
    try:
        draft.rename(target)
    except OSError:
        if not target.exists():
            raise
    return target


@contextmanager
def _fetching(location: str, target: Path) -> Iterator[Path]:
    """A draft to fetch into; whatever goes wrong meanwhile is about the address, in one line."""
    logger.info("fetching bundle %s into %s", location, target.parent)
    sweep_drafts(target.parent, older_than_s=_LEFT_BEHIND_S)
    try:
        with draft_beside(target) as draft:
            yield draft
    except BundleProblem as error:
        raise BundleProblem(location, error.problem) from error
    except DigestMismatch as error:
        raise DigestMismatch(location, error.file, error.expected, error.found) from error
    except Exception as error:  # each store has errors of its own
        said = " ".join(str(error).split()) or type(error).__name__
        raise BundleProblem(location, f"cannot be fetched: {type(error).__name__}: {said}") from error
