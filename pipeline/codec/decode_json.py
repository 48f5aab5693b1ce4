"""One candidate from one JSON value, or many from one text.

Promises: what it returns is well-formed text all through; what it refuses, it refuses with the most
precise reason. Built for the path where nothing is wrong: a parse, a count, a look at each field. The slow,
thorough reading happens only for a value that is refused or looks suspicious.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

from actors.pairs import FLAT_FIELD
from pipeline.codec.limits import MAX_ID_CHARS
from pipeline.errors import InputError
from pipeline.records import Reason

_KEY_END = re.compile(rb'"[ \t\r\n]*:')


def decode_candidate(value: bytes) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
    """Read one JSON message.

    Args:
        value: The message's value.

    Returns:
        Id, query-side fields and document-side fields.

    Raises:
        InputError: Not a candidate; the reason says why.
    """
    message = _parsed(value)
    candidate_id, query, document = _parts(message)
    n_keys = len(message)
    if type(query) is dict:
        n_keys += len(query)
    if type(document) is dict:
        n_keys += len(document)
    # orjson keeps the last of two equal keys and does not tell. Every key has a colon of its own, so as
    # many colons as distinct keys proves that none is repeated. Colons inside texts only arouse suspicion.
    if value.count(b":") != n_keys:
        _refuse_duplicates(value, message)
    return check_id(candidate_id), as_fields("query", query), as_fields("document", document)


def parse_json(value: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Read JSON that may hold many candidates, as strictly as that of one.

    Args:
        value: The text, in UTF-8.

    Returns:
        What it holds.

    Raises:
        InputError: It is not JSON, repeats a key or holds half of a surrogate pair.
    """
    content = _parsed(value)
    if value.count(b":") != _n_keys(content):
        _refuse_duplicates(value, content)
    return content


def read_candidate(message: object) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
    """One candidate that was parsed before, see `decode_candidate`.

    Args:
        message: A JSON value that repeats no key.

    Returns:
        Id, query-side fields and document-side fields.

    Raises:
        InputError: Not a candidate; the reason says why.
    """
    candidate_id, query, document = _parts(message)
    return check_id(candidate_id), as_fields("query", query), as_fields("document", document)


def check_id(candidate_id: object, row: int = -1) -> str:
    """Refuse what is no id.

    Args:
        candidate_id: What stands in its place.
        row: For the error: row within a batch message.

    Returns:
        The id.

    Raises:
        InputError: Null, empty, not a string, or longer than `MAX_ID_CHARS`.
    """
    if type(candidate_id) is not str:
        if candidate_id is None:
            raise InputError(Reason.EMPTY_ID, "candidate_id is null", row)
        raise InputError(
            Reason.WRONG_TYPE, f"candidate_id is a JSON {_kind(candidate_id)}, not a string", row
        )
    if not candidate_id:
        raise InputError(Reason.EMPTY_ID, "candidate_id is empty", row)
    if len(candidate_id) > MAX_ID_CHARS:
        length = len(candidate_id)
        raise InputError(
            Reason.TEXT_TOO_LONG, f"candidate_id has {length} characters, the limit is {MAX_ID_CHARS}", row
        )
    return candidate_id


def as_fields(side: str, value: object) -> Mapping[str, str]:
    """One side's fields by name.

    Args:
        side: `query` or `document`, for the error.
        value: A text, or an object of texts; those that are null are left out.

    Returns:
        The fields; a flat text is the field `text`.

    Raises:
        InputError: It is neither.
    """
    if type(value) is str:
        return {FLAT_FIELD: value}
    if type(value) is not dict:
        if value is None:
            raise InputError(Reason.EMPTY_TEXT, f"{side} is null")
        raise InputError(
            Reason.WRONG_TYPE, f"{side} is a JSON {_kind(value)}, not a string or an object of strings"
        )
    for content in value.values():
        if type(content) is not str:
            return _present(side, value)
    return value


def _present(side: str, fields: dict[str, Any]) -> Mapping[str, str]:
    for content in fields.values():
        if content is not None and type(content) is not str:
            raise InputError(Reason.WRONG_TYPE, f"a field of {side} is a JSON {_kind(content)}, not a string")
    return {name: content for name, content in fields.items() if content is not None}


def _parsed(value: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise why_unparsed(value) from error


def _parts(message: object) -> tuple[object, object, object]:
    if type(message) is not dict:
        raise InputError(Reason.WRONG_TYPE, f"the value is a JSON {_kind(message)}, not an object")
    try:
        return message["candidate_id"], message["query"], message["document"]
    except KeyError as missing:
        raise InputError(Reason.MISSING_FIELD, f"there is no field {missing}") from missing


def _refuse_duplicates(value: bytes, message: object) -> None:
    # A closing quote and a colon end every key; inside a text they can only follow a backslash or begin it,
    # so this count is never below the number of keys, and mostly equal to it.
    if len(_KEY_END.findall(value)) == _n_keys(message):
        return
    try:
        json.loads(value, object_pairs_hook=_distinct, parse_int=str, parse_float=str)
    except RecursionError as error:
        raise InputError(Reason.NOT_JSON, "nested too deeply") from error


def _n_keys(message: object) -> int:
    n_keys = 0
    nested: list[Any] = [message]
    while nested:
        item = nested.pop()
        if type(item) is dict:
            n_keys += len(item)
            nested.extend(item.values())
        elif type(item) is list:
            nested.extend(item)
    return n_keys


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        name = next(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
        raise InputError(Reason.DUPLICATE_KEY, f"the key {name[:100]!r} is repeated")
    return fields


def why_unparsed(value: bytes) -> InputError:
    """Read again, slowly, what orjson refused, for the reason."""
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        return InputError(Reason.NOT_UTF8, f"not UTF-8 from byte {error.start} on")
    try:
        parsed = json.loads(text, parse_int=str, parse_float=str, parse_constant=_no_constant)
        json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return InputError(Reason.LONE_SURROGATE, "a text holds half of a surrogate pair, which is no text")
    except json.JSONDecodeError as error:
        return InputError(Reason.NOT_JSON, f"{error.msg} at character {error.pos}")
    except RecursionError:
        return InputError(Reason.NOT_JSON, "nested too deeply")
    return InputError(Reason.NOT_JSON, "a number is out of range, or it is nested too deeply")


def _no_constant(name: str) -> None:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


def _kind(value: object) -> str:
    return {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}.get(
        type(value), "number"
    )
