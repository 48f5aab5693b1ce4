"""Many candidates in one JSON text, read as strictly as one message of the stream."""

from __future__ import annotations

import time

import orjson
import pytest

from pipeline.codec.decode_json import decode_candidate, parse_json, read_candidate
from pipeline.errors import InputError
from pipeline.records import Reason
from tests.codec.examples import GOOD


def test_a_parsed_candidate_is_read_as_its_message_is() -> None:
    (parsed,) = parse_json(orjson.dumps([GOOD]))
    assert read_candidate(parsed) == decode_candidate(orjson.dumps(GOOD))


def test_colons_in_texts_are_no_keys() -> None:
    text = b'{"a": [{"b": "x: y"}, {"b": "\\"c\\": d"}]}'
    assert parse_json(text) == orjson.loads(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"candidates": [{"a": 1, "a": 2}]}', Reason.DUPLICATE_KEY),
        (b'{"a": "\\ud800"}', Reason.LONE_SURROGATE),
        (b'{"a": "\xff"}', Reason.NOT_UTF8),
        (b'{"a": ', Reason.NOT_JSON),
        (b"", Reason.NOT_JSON),
        (b"[" * 100_000, Reason.NOT_JSON),
    ],
)
def test_what_is_not_well_formed_is_refused_with_its_reason(text: bytes, reason: Reason) -> None:
    with pytest.raises(InputError) as refused:
        parse_json(text)
    assert refused.value.reason is reason


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (7, Reason.WRONG_TYPE),
        ({"candidate_id": "a", "query": "b"}, Reason.MISSING_FIELD),
        ({"candidate_id": "", "query": "b", "document": "c"}, Reason.EMPTY_ID),
        ({"candidate_id": "a", "query": None, "document": "c"}, Reason.EMPTY_TEXT),
        ({"candidate_id": "a", "query": "b", "document": {"title": 3}}, Reason.WRONG_TYPE),
    ],
)
def test_what_is_no_candidate_is_refused_with_its_reason(message: object, reason: Reason) -> None:
    with pytest.raises(InputError) as refused:
        read_candidate(message)
    assert refused.value.reason is reason


def test_which_of_very_many_keys_is_repeated_is_found_in_one_go() -> None:
    """Each key was counted among all: of 8 MiB of keys, the event loop of a door stood still for an hour."""
    keys = [f'"k{n}":0' for n in range(60_000)]
    began = time.monotonic()
    with pytest.raises(InputError, match="the key 'k59999' is repeated"):
        parse_json(f"{{{','.join([*keys, keys[-1]])}}}".encode())
    assert time.monotonic() - began < 10
