"""What a backfill reads: the files of an address, each looked at before anything is scored.

Promises that what can be known is known at the start: that each file is there and whole (a Parquet file by its
footer, JSON lines by every line), has the columns, and has them of the same types as the others. Nothing is
written.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from glob import has_magic
from io import BufferedReader
from pathlib import PurePosixPath
from threading import Event
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.utils import get_protocol

from pipeline.bulk import lines, parts
from pipeline.bulk.parts import Ceilings, RowGroup, Stretch
from pipeline.bulk.store import in_one_line, refuse_password
from pipeline.candidate_columns import check_schema
from pipeline.candidate_files import Columns, Kind, kind_of
from pipeline.errors import BackfillRefused, DataUnusable, TransientError

_AT_ONCE = 16
"""Files that are looked at side by side: a store answers slowly, and many."""
_BLOCK_BYTES = 1 << 20
_FOOTER_END = 8
"""Bytes at the end of a Parquet file: the footer's length, and the magic number."""
_HIDDEN = ("_", ".")
_VERSIONS = ("etag", "ETag", "mtime", "LastModified", "last_modified", "updated")
"""What stores call that which changes with a file."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file, as it was when it was looked at."""

    file: str
    """Its address; of a file on this machine, the absolute path."""
    n_rows: int
    n_bytes: int
    digest: str
    """`sha256:<hex>` of all of it, or of its footer."""
    digest_of: str
    """`file` or `footer`: a Parquet file is not read twice."""
    version: str | None
    """Where the digest is the footer's: what its store says changes with the file, an etag or a time."""


@dataclass(frozen=True, slots=True)
class Survey:
    """All that there is to do."""

    files: list[InputFile]
    stretches: list[Stretch]
    versions: list[str | None]
    """Of each file, what its store says changes with it."""

    @property
    def n_rows(self) -> int:
        """Rows of all files."""
        return sum(file.n_rows for file in self.files)


def survey(address: str, columns: Columns, ceilings: Ceilings) -> Survey:
    """Find the files and look at each. Blocks; reads the footers of Parquet files, and all of JSON lines.

    Args:
        address: A file, a folder or a pattern, on this machine or in a store that fsspec knows.
        columns: What makes a candidate.
        ceilings: Of a part.

    Returns:
        The files, and how they are cut.

    Raises:
        BackfillRefused: There are none, one cannot be read, or one differs from the others.
    """
    found = _find(address)
    kinds = {_kind(file) for file in found}
    if len(kinds) > 1:
        raise BackfillRefused(address, "holds Parquet and JSON lines; backfill one after the other")
    ended = Event()
    look = _look_at_parquet if kinds == {Kind.PARQUET} else partial(_look_at_lines, ended=ended)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            looked = list(pool.map(partial(look, columns=columns, ceilings=ceilings), found))
        finally:
            ended.set()  # where one cannot be used, or the user has had enough, no other is read to its end
    _check_alike([one.types for one in looked], found, columns)
    stretches = itertools.chain.from_iterable(one.stretches for one in looked)
    files, versions = [one.file for one in looked], [one.version for one in looked]
    return Survey(files, list(parts.numbered(stretches)), versions)


def check_unchanged(found: Survey) -> None:
    """Look at each file again, once all are read. Blocks; takes digests again only of those that were touched.

    A file that is gone is as it was when it was read.

    Args:
        found: What was surveyed, in this process.

    Raises:
        DataUnusable: A file was changed since: some of its rows may be of the one, and some of the other.
        TransientError: The store does not answer.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        same = list(pool.map(_is_as_it_was, found.files, found.versions))
    for file, is_same in zip(found.files, same, strict=True):
        if not is_same:
            problem = "was changed while it was read; leave it as it is, and backfill it into another folder"
            raise DataUnusable(file.file, problem)


def open_file(file: str) -> Any:  # noqa: ANN401 - a file of fsspec, or of this machine
    """Open a file that a survey named, to read bytes at any place."""
    store, path = fsspec.core.url_to_fs(file)
    return store.open(path, "rb", block_size=_BLOCK_BYTES)


@dataclass(frozen=True, slots=True)
class _Looked:
    file: InputFile
    stretches: list[Stretch]
    types: list[pa.DataType]
    """Of the columns that are read; none for JSON lines, where each row has its own."""
    version: str | None


def _find(address: str) -> list[str]:
    refuse_password(address)
    local = get_protocol(address) in {"file", "local"}
    try:
        store, root = fsspec.core.url_to_fs(address)
        store.invalidate_cache()
        if local:
            _go_everywhere(root)
        if store.isfile(root):
            found = [root]
        elif store.isdir(root):
            found = [path for path in store.find(root) if not _hidden(path, root)]
        elif has_magic(root):
            found = [path for path in store.glob(root) if store.isfile(path)]
        else:
            found = []
            # To the questions above, what may not be looked at is no file; this one says so.
            with suppress(FileNotFoundError):
                store.info(root)
    except Exception as error:  # each store has errors of its own
        raise BackfillRefused(address, f"cannot be read: {in_one_line(error)}") from error
    if not found:
        raise BackfillRefused(address, "there is no such file, and no file in such a folder")
    strange = [path for path in found if local and not store.isfile(path)]
    if strange:  # reading a pipe would never end
        raise BackfillRefused(strange[0], "is neither a file nor a link to one; move it away")
    for path in found:
        if any("\ud800" <= character <= "\udfff" for character in path):
            problem = "its name is not UTF-8, and no verdict could tell it; rename it"
            raise BackfillRefused(ascii(path), problem)
    return sorted(found if local else map(store.unstrip_protocol, found))


def _go_everywhere(root: str) -> None:
    """Raise the error of a folder on this machine that cannot be listed: fsspec would go past it."""

    def refuse(error: OSError) -> None:
        raise error

    for _, folders, _ in os.walk(root, onerror=refuse) if os.path.isdir(root) else ():
        folders[:] = [name for name in folders if not name.startswith(_HIDDEN)]


def _hidden(path: str, root: str) -> bool:
    """Marks and logs of whoever wrote a folder: `_SUCCESS`, `_temporary/…`, `.part.crc`."""
    inner = PurePosixPath(path).relative_to(PurePosixPath(root)).parts
    return any(name.startswith(_HIDDEN) for name in inner)


def _kind(file: str) -> Kind:
    try:
        return kind_of(file)
    except DataUnusable as error:
        raise BackfillRefused(
            file, f"{error.problem}; a pattern such as *.parquet leaves out others"
        ) from error


def _look_at_parquet(file: str, *, columns: Columns, ceilings: Ceilings) -> _Looked:
    try:
        version = _version(file)
        with open_file(file) as opened:
            footer = pq.ParquetFile(opened)
            size = opened.seek(0, 2)
            digest = _footer_digest(opened, size)
            check_schema(footer.schema_arrow, columns, file)
    except DataUnusable as error:
        raise BackfillRefused(file, error.problem) from error
    except Exception as error:  # each store has errors of its own
        raise BackfillRefused(file, f"cannot be read as Parquet: {in_one_line(error)}") from error
    metadata = footer.metadata
    groups = [_row_group(metadata.row_group(at), set(columns.all)) for at in range(metadata.num_row_groups)]
    looked = InputFile(file, metadata.num_rows, size, digest, "footer", version)
    types = [footer.schema_arrow.field(name).type for name in columns.all]
    return _Looked(looked, list(parts.of_groups(file, groups, ceilings)), types, version)


def _row_group(group: Any, wanted: set[str]) -> RowGroup:  # noqa: ANN401 - pyarrow carries no types
    chunks = (group.column(at) for at in range(group.num_columns))
    read = (chunk for chunk in chunks if chunk.path_in_schema.partition(".")[0] in wanted)
    return RowGroup(group.num_rows, sum(chunk.total_uncompressed_size for chunk in read))


def _footer_digest(opened: BinaryIO, size: int) -> str:
    opened.seek(size - _FOOTER_END)
    length = int.from_bytes(opened.read(4), "little")
    opened.seek(max(0, size - _FOOTER_END - length))
    return "sha256:" + hashlib.sha256(opened.read()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Ending:
    """A file to read from until somebody ends it."""

    file: Any
    ended: Event

    def read(self, n_bytes: int) -> bytes:
        if self.ended.is_set():
            raise InterruptedError("not read to its end")
        content: bytes = self.file.read(n_bytes)
        return content


def _look_at_lines(file: str, *, columns: Columns, ceilings: Ceilings, ended: Event) -> _Looked:
    try:
        version = _version(file)
        with open_file(file) as opened:
            scanned = lines.scan(_Ending(opened, ended), file, columns, ceilings)
    except DataUnusable as error:
        raise BackfillRefused(error.what, error.problem) from error
    except Exception as error:  # each store has errors of its own
        raise BackfillRefused(file, f"cannot be read: {in_one_line(error)}") from error
    looked = InputFile(file, scanned.n_rows, scanned.n_bytes, scanned.digest, "file", None)
    return _Looked(looked, scanned.stretches, [], version)


def _version(file: str) -> str | None:
    store, path = fsspec.core.url_to_fs(file)
    info = store.info(path)
    return next((str(info[name]) for name in _VERSIONS if name in info), None)


def _is_as_it_was(file: InputFile, version: str | None) -> bool:
    store, path = fsspec.core.url_to_fs(file.file)
    try:
        store.invalidate_cache()
        if store.size(path) in {file.n_bytes, None} and _version(file.file) == version:
            return True
        with open_file(file.file) as opened:
            if opened.seek(0, 2) != file.n_bytes:
                return False
            digest = _footer_digest if file.digest_of == "footer" else _digest
            return digest(opened, file.n_bytes) == file.digest
    except FileNotFoundError:
        return True
    except Exception as error:  # each store has errors of its own
        raise TransientError(f"looking at {file.file} again", in_one_line(error)) from error


def _digest(opened: BufferedReader, _: int) -> str:
    opened.seek(0)
    return "sha256:" + hashlib.file_digest(opened, "sha256").hexdigest()


def _check_alike(types: Sequence[list[pa.DataType]], files: Sequence[str], columns: Columns) -> None:
    for of_file, file in zip(types, files, strict=True):
        for name, kind, other in _differing(columns.all, of_file, types[0]):
            problem = (
                f"the column {name!r} is of type {kind}, in {files[0]} it is {other}: write them alike first"
            )
            raise BackfillRefused(file, problem)


def _differing(
    names: Sequence[str], types: Sequence[pa.DataType], others: Sequence[pa.DataType]
) -> Iterator[tuple[str, pa.DataType, pa.DataType]]:
    for name, kind, other in zip(names, types, others, strict=False):
        if kind != other:
            yield name, kind, other
