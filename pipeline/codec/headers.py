"""Kafka headers as the codec reads and writes them.

Promises: order and repeats are kept; what comes out can be sent. Kafka allows a null header value, many clients
refuse to send one: it goes out empty, and a marker header says which ones were null. Knows no value.
"""

from __future__ import annotations

import enum

from pipeline.errors import InputError
from pipeline.records import Headers, Reason

CONTENT_TYPE = "content-type"
NULL_HEADERS = "sluice.null.headers"
"""Positions of the headers that were null, from 0, separated by commas. Absent where none was."""


class Format(enum.Enum):
    """What a message's value is; the enum's value is its content type."""

    JSON = b"application/json"
    """One candidate or verdict. Also what a message without a content type is, in and out."""
    ARROW = b"application/vnd.apache.arrow.stream"
    """A batch of them: an Arrow IPC stream."""


RECORD_BYTES = 128
"""What frames a record in the client's reckoning, which is 82 bytes, and a little more."""
_FRAME_BYTES = 10  # two lengths, varints of at most five bytes
_NULL_BYTES = 8  # its position in the marker, up to seven digits and a comma
_FORMATS = {form.value: form for form in Format}


def format_of(headers: Headers) -> Format:
    """What the content type says. Case and parameters do not matter; of repeats, the last one counts.

    Args:
        headers: A message's headers.

    Returns:
        How to read the message's value.

    Raises:
        InputError: A content type that is neither JSON nor an Arrow stream, or null.
    """
    at = _content_type_at(headers) if headers else None
    if at is None:
        return Format.JSON
    said = headers[at][1] or b""
    form = _FORMATS.get(said.partition(b";")[0].strip().lower())
    if form is None:
        raise InputError(Reason.UNKNOWN_CONTENT_TYPE, f"content-type {said[:100].decode(errors='replace')!r}")
    return form


def with_format(headers: Headers, form: Format) -> list[tuple[str, bytes]]:
    """The same headers, fit to be sent with a value of this format.

    The content type is replaced in its place. Where there is none, the message was JSON and stays JSON.
    """
    sendable = without_nulls(headers)
    at = _content_type_at(headers)
    if at is not None:
        sendable[at] = (sendable[at][0], form.value)
    return sendable


def without_nulls(headers: Headers) -> list[tuple[str, bytes]]:
    """The same headers with nulls emptied, and the marker that tells which ones they were."""
    sendable = [(name, value or b"") for name, value in headers]
    nulls = [str(at) for at, (_, value) in enumerate(headers) if value is None]
    if nulls:
        sendable.append((NULL_HEADERS, ",".join(nulls).encode()))
    return sendable


def carried_bytes(key: bytes | None, headers: Headers) -> int:
    """What a message takes beside its value once it is sent on, in bytes: never less than the client reckons."""
    size = len(key or b"")
    for name, content in headers:
        size += len(name.encode()) + _FRAME_BYTES + (_NULL_BYTES if content is None else len(content))
    return size


def _content_type_at(headers: Headers) -> int | None:
    at = None
    for position, (name, _) in enumerate(headers):
        if name.lower() == CONTENT_TYPE:
            at = position
    return at
