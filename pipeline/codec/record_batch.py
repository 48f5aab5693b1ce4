"""Messages as Kafka stores them: the records of a batch, in the format that brokers have had since 0.11.

Promises: what `encode_batches` yields is the body of a record batch, all but the header that names producer and
sequence, so that a replica does the work per message and the one process that commits does the work per batch.
Offsets within a batch count from 0 and all of its messages have the batch's time. Pure; knows no client.

The format is Kafka's own: https://kafka.apache.org/documentation/#recordbatch (message format v2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.records import Batch, Headers, Output, Route

BATCH_BYTES = 1 << 18
"""Where a batch ends; a message that is larger is a batch of its own. Brokers take 1 MiB unless told otherwise."""

_OVERHEAD = 80
"""Most that a batch's header (61 bytes), and what comes before a record's key, add."""

_NULL = b"\x01"  # the length -1
_NO_HEADERS = b"\x00"
_ATTRIBUTES_AND_TIME = b"\x00\x00"


def encode_batches(outputs: Iterable[Output]) -> list[Batch]:
    """Encode messages, route by route.

    Args:
        outputs: In the order that each route is to have them.

    Returns:
        Batches; those of one route are in its order, and no two batches of a route could be one.
    """
    open_batches: dict[Route, _Builder] = {}
    batches: list[Batch] = []
    for output in outputs:
        builder = open_batches.get(output.route)
        if builder is None:
            builder = open_batches[output.route] = _Builder(output.route)
        content = _content(output)
        if not builder.has_room(len(content)):
            batches.append(builder.done())
            builder = open_batches[output.route] = _Builder(output.route)
        builder.add(content)
    return [*batches, *(builder.done() for builder in open_batches.values())]


class _Builder:
    """A batch that is being filled."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._n = 0
        self._body = bytearray()

    def has_room(self, n_bytes: int) -> bool:
        return not self._n or len(self._body) + n_bytes + _OVERHEAD < BATCH_BYTES

    def add(self, content: bytes) -> None:
        offset = _varint(self._n)
        self._body += _varint(len(_ATTRIBUTES_AND_TIME) + len(offset) + len(content))
        self._body += _ATTRIBUTES_AND_TIME
        self._body += offset
        self._body += content
        self._n += 1

    def done(self) -> Batch:
        return Batch(self._route, self._n, bytes(self._body))


def _content(output: Output) -> bytes:
    """A record from its key on."""
    headers = _headers(output.headers) if output.headers else (_NO_HEADERS,)
    return b"".join((*_nullable(output.key), *_nullable(output.value), *headers))


def _headers(headers: Headers) -> Iterator[bytes]:
    yield _varint(len(headers))
    for name, value in headers:
        yield from _nullable(name.encode())
        yield from _nullable(value)


def _nullable(content: bytes | None) -> tuple[bytes, bytes]:
    return (_NULL, b"") if content is None else (_varint(len(content)), content)


def _varint(number: int) -> bytes:
    """A length or a count, not negative: zigzag, seven bits a byte, the least significant first."""
    return _SMALL[number] if number < len(_SMALL) else _long_varint(number)


def _long_varint(number: int) -> bytes:
    rest, out = number << 1, bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_SMALL = [_long_varint(number) for number in range(1 << 13)]
