"""Where a backfill writes: a folder on this machine, or an address in a store that fsspec knows.

Promises that a file is there whole or not at all, as far as the store lets it: on this machine it is written
beside, to the disk, and moved into place; what stores of objects hold appears when it is complete. Knows names,
and nothing of what they stand for.
"""

from __future__ import annotations

import os
import posixpath
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.bundles import WITH_PASSWORD
from pipeline.errors import BackfillRefused, TransientError

_DRAFT = ".sluice-"
"""How the name of a file begins that is being written."""


class Store:
    """One folder. Opened in each process that needs it.

    Args:
        address: Of the folder; made when something is put there.

    Raises:
        BackfillRefused: There is no such store, or it lets nobody in.
    """

    def __init__(self, address: str) -> None:
        refuse_password(address)
        try:
            self._files, self._root = fsspec.core.url_to_fs(address)
        except (ValueError, ImportError) as error:
            raise BackfillRefused(address, str(error)) from error
        self._local = isinstance(self._files, LocalFileSystem)
        self.address = self._root if self._local else address

    @property
    def folder(self) -> Path | None:
        """The folder, where it is on this machine."""
        return Path(self._root) if self._local else None

    def holds(self, address: str) -> bool:
        """Whether an address lies in this folder, whose name may be a pattern, or is the folder."""
        files, path = fsspec.core.url_to_fs(address)
        own, other = f"{self._root.rstrip('/')}/", f"{path.rstrip('/')}/"
        above = "".join(f"{name}/" for name in other.split("/")[: own.count("/")])
        return type(files) is type(self._files) and (above == own or fnmatchcase(above, own))

    def put(self, name: str, content: bytes) -> None:
        """Write a file; another of this name gives way to it.

        Args:
            name: Within the folder, with `/`.
            content: All of it.

        Raises:
            TransientError: The store does not take it now.
        """
        path = self._path(name)
        with self._asking(f"writing {path}"):
            if not self._local:
                self._files.pipe_file(path, content)
                return
            draft = f"{posixpath.dirname(path)}/{_DRAFT}{secrets.token_hex(8)}"
            os.makedirs(posixpath.dirname(path), exist_ok=True)
            try:
                with open(draft, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())  # or the mark of a part may outlive its rows when the power fails
                os.replace(draft, path)
            except OSError:
                Path(draft).unlink(missing_ok=True)
                raise

    def get(self, name: str) -> bytes | None:
        """Read a file.

        Args:
            name: Within the folder.

        Returns:
            All of it; None where there is none.

        Raises:
            TransientError: The store does not answer.
        """
        path = self._path(name)
        with self._asking(f"reading {path}"):
            try:
                content: bytes = self._files.cat_file(path)
            except FileNotFoundError:
                return None
        return content

    def names(self, within: str = "") -> list[str]:
        """What files there are.

        Args:
            within: A folder in the folder.

        Returns:
            Their names within the folder, in order; drafts are none.

        Raises:
            TransientError: The store does not answer.
        """
        with self._asking(f"listing {self._root}"):
            self._files.invalidate_cache()
            try:
                found = self._files.find(self._path(within) if within else self._root)
            except FileNotFoundError:
                return []
        inner = (posixpath.relpath(path, self._root) for path in found)
        return sorted(name for name in inner if not posixpath.basename(name).startswith(_DRAFT))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there.

        Args:
            name: Within the folder.

        Raises:
            TransientError: The store does not answer.
        """
        with self._asking(f"removing {name}"):
            try:
                self._files.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def sweep(self) -> None:
        """Remove the drafts of who was killed; for whoever holds the folder alone."""
        if self._local:
            for draft in Path(self._root).rglob(f"{_DRAFT}*"):
                draft.unlink(missing_ok=True)

    def _path(self, name: str) -> str:
        return posixpath.join(self._root, name)

    @contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each store has errors of its own
            raise TransientError(doing, in_one_line(error)) from error


def refuse_password(address: str) -> None:
    """Refuse an address that holds a password, without telling it. Raises BackfillRefused."""
    if WITH_PASSWORD.search(address):
        shown = WITH_PASSWORD.sub("//", address)
        problem = "no password goes with an address; give it to the library, by the environment"
        raise BackfillRefused(shown, problem)


def in_one_line(error: Exception) -> str:
    """What a store's own error says, or else what it is called."""
    return " ".join(str(error).split()) or type(error).__name__
