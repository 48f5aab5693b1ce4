"""What kafka-python 3.0.12 can send, without a broker: whatever was read, its verdict or reject must go out.

`tests/kafka/test_sendable.py` holds it to the library, which refuses a null key with a null value, null header
values, header keys that are not text, and records over `max_request_size`.
"""

from __future__ import annotations

from kafka.record.default_records import DefaultRecordBatchBuilder

from pipeline.kafka.client import MAX_REQUEST_BYTES
from pipeline.records import Headers


def request_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes that the library reckons for a record, its own upper bound; `headers` without null values."""
    return int(DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, list(headers)))


def why_unsendable(
    key: bytes | None, value: bytes | None, headers: Headers, *, max_request_bytes: int = MAX_REQUEST_BYTES
) -> str | None:
    """Why the library would refuse this message, or None when it takes it."""
    if key is None and value is None:
        return "key and value are both null"
    for name, content in headers:
        if content is None:
            return f"header {name!r} is null"
        if not _is_text(name):
            return f"header name {name!r} cannot be written as UTF-8"
    if (size := request_bytes(key, value, headers)) > max_request_bytes:
        return f"{size} bytes are more than the {max_request_bytes} of one request"
    return None


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
