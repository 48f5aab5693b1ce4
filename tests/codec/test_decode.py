"""Every record gives a candidate or a reject, and nothing is ever raised."""

from __future__ import annotations

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codec import VERDICT_BYTES, Limits, decode
from pipeline.records import Reason, Stage
from tests.codec.examples import (
    ARROW,
    BAD,
    GOOD,
    LIMITS,
    batch_record,
    json_record,
    record,
    stream,
    table,
)

WIDE = Limits(max_chars=200, max_message_bytes=1 << 20, max_reject_bytes=2_000)


def accepted(*records):
    candidates, rejected = decode(records, LIMITS)
    assert not rejected, rejected
    return candidates


def only_reject(one):
    candidates, (rejected,) = decode([one], LIMITS)
    return rejected, candidates


@pytest.mark.parametrize("name", BAD)
def test_gives_each_fault_its_own_reason_and_keeps_the_other_rows(name):
    bad = BAD[name]
    rejected, candidates = only_reject(bad.record)
    assert (rejected.reason, rejected.row, rejected.stage) == (bad.reason, bad.row, Stage.DECODE)
    assert candidates.row == ([row for row in range(3) if row != bad.row] if bad.row >= 0 else [])


@pytest.mark.parametrize("name", BAD)
def test_the_detail_is_short_and_never_the_payload(name):
    rejected, _ = only_reject(BAD[name].record)
    assert 0 < len(rejected.detail) <= 300
    rejected.detail.encode()


def test_every_decoding_reason_has_an_example():
    later = {
        Reason.SCORE_NOT_FINITE,
        Reason.SCORING_FAILED,
        Reason.UNDECODABLE_BATCH,
        Reason.PREPARING_FAILED,
    }
    assert {bad.reason for bad in BAD.values()} == set(Reason) - later


def test_reads_fields_as_they_are():
    candidates = accepted(json_record())
    assert (candidates.record, candidates.row, candidates.candidate_id) == ([0], [0], ["c-1"])
    assert candidates.query == [GOOD["query"]]
    assert candidates.document == [GOOD["document"]]


def test_a_flat_string_is_the_field_text():
    assert accepted(json_record(query="shoes")).query == [{"text": "shoes"}]


def test_a_null_field_is_absent_and_an_unknown_key_ignored():
    candidates = accepted(json_record(document={"title": "a", "brand": None}, price=[{"eur": 1.5}]))
    assert candidates.document == [{"title": "a"}]


def test_empty_texts_are_left_to_the_pair_template():
    assert accepted(json_record(query="", document={})).document == [{}]


@pytest.mark.parametrize(
    "text", ["9:30", 'say ":" twice', "a\\", ":", '\\":', "\\u003a", "\N{FULLWIDTH COLON}", '":":":']
)
def test_colons_and_quotes_in_texts_are_no_repeated_keys(text):
    assert accepted(json_record(query=text, document={text: text})).document == [{text: text}]


def test_huge_integers_beside_the_candidate_do_no_harm():
    value = orjson.dumps(GOOD)[:-1] + b',"n":' + b"9" * 300 + b',"t":"a:b"}'
    assert len(accepted(record(value))) == 1


@pytest.mark.parametrize(
    "content_type",
    [b"application/json", b"Application/JSON; charset=utf-8", b" application/json ;x=y"],
)
def test_content_types_may_have_parameters_and_any_case(content_type):
    accepted(json_record()._replace(headers=[("Content-Type", content_type)]))


def test_the_last_of_repeated_content_types_counts():
    headers = [("content-type", b"text/csv"), ("h", b""), ARROW]
    assert len(accepted(batch_record()._replace(headers=headers))) == 3


def test_a_record_at_the_size_limit_is_read_and_one_byte_more_is_not():
    one = json_record()._replace(headers=[("trace", b"parent")])
    size = 40_000
    rest = size - len(one.key) - len("trace") - len(b"parent") - 10
    for surplus in (0, 1):
        padded = one._replace(value=one.value + b" " * (rest - len(one.value) + surplus))
        assert len(decode([padded], Limits(1, size, 1))[1]) == surplus


def test_key_and_headers_must_leave_room_for_a_verdict():
    one = json_record()
    for surplus in (0, 1):
        keyed = one._replace(key=b"k" * (LIMITS.max_carried_bytes + surplus))
        assert len(decode([keyed], LIMITS)[1]) == surplus


def test_limits_leave_room_for_a_verdict():
    with pytest.raises(ValueError, match="too narrow"):
        Limits(max_chars=1, max_message_bytes=VERDICT_BYTES, max_reject_bytes=1)


TEXTS = ["a", "b", "c"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_reads_flat_struct_and_map_columns_alike(kind):
    strings = pa.array(TEXTS, kind)
    struct = pa.StructArray.from_arrays([strings], names=["text"])
    mapped = pa.array([[("text", text)] for text in TEXTS], pa.map_(kind, kind))
    for column in (strings, struct, mapped):
        candidates = accepted(batch_record(table(candidate_id=strings, query=column, document=column)))
        assert candidates.query == candidates.document == [{"text": text} for text in TEXTS]
        assert candidates.candidate_id == TEXTS


def test_null_fields_of_a_batch_are_absent():
    struct = [{"a": "x", "b": None, "c": None}, {"a": None, "b": "y", "c": None}]
    mapped = pa.array([[("a", "x"), ("b", None)], [("b", "y")]], pa.map_(pa.string(), pa.string()))
    candidates = accepted(batch_record(table(2, query=struct, document=mapped)))
    assert candidates.query == candidates.document == [{"a": "x"}, {"b": "y"}]


def test_counts_rows_over_all_record_batches_of_a_message():
    sliced = table(9, query=[None if i == 5 else "q" for i in range(9)]).slice(1, 7)
    value = stream(sliced, rows_per_batch=2)
    candidates, rejected = decode([json_record(), record(value, headers=[ARROW])], LIMITS)
    assert candidates.record == [0] + [1] * 6
    assert candidates.row == [0, 0, 1, 2, 3, 5, 6]
    assert candidates.candidate_id[1:] == ["c-1", "c-2", "c-3", "c-4", "c-6", "c-7"]
    assert [(one.record, one.row) for one in rejected] == [(1, 4)]


def test_columns_that_are_not_the_candidate_s_are_never_looked_at():
    extra = pa.array([1, 2, 3]).cast(pa.float64())
    assert len(accepted(batch_record(table().append_column("price", extra)))) == 3


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_reads_compressed_batches(codec):
    sink = pa.BufferOutputStream()
    content = table()
    with pa.ipc.new_stream(sink, content.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(content)
    assert len(accepted(record(sink.getvalue().to_pybytes(), headers=[ARROW]))) == 3


def account(one):
    """Decode and check what always holds; give back how many candidates there were."""
    candidates, rejected = decode([one], WIDE)
    assert len(candidates) + len(rejected) >= 1
    rows = candidates.row + [reject.row for reject in rejected]
    assert len(set(rows)) == len(rows), "a row was both a candidate and a reject, or twice one of them"
    for fields in (*candidates.query, *candidates.document):
        for name, text in fields.items():
            (name + text).encode()
    for reject in rejected:
        reject.detail.encode()
    return len(candidates)


@given(st.binary(max_size=200))
def test_random_bytes_never_raise(value):
    account(record(value))
    account(record(value, headers=[ARROW]))


@given(st.binary(max_size=40), st.binary(max_size=200))
def test_random_headers_never_raise(content_type, value):
    account(record(value, headers=[("content-type", content_type)]))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON_VALUES, JSON_VALUES, JSON_VALUES)
def test_any_json_in_any_place_never_raises(candidate_id, query, document):
    account(json_record(candidate_id=candidate_id, query=query, document=document))


@given(
    st.text(min_size=1, max_size=50),
    st.text() | st.dictionaries(st.text(), st.text()),
    st.dictionaries(st.text(), st.text() | st.none()),
)
def test_every_well_formed_candidate_is_accepted(candidate_id, query, document):
    assert account(json_record(candidate_id=candidate_id, query=query, document=document)) == 1


@st.composite
def mutations(draw, valid):
    value = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(value) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                value[at] = draw(st.integers(0, 255))
            case 1:
                del value[at : at + draw(st.integers(1, 16))]
            case 2:
                value[at:at] = draw(st.binary(max_size=8))
            case _:
                value[at : at + 4] = draw(st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\1\0\0\0"]))
    return bytes(value) or b"\0"


@given(mutations(orjson.dumps(GOOD)))
def test_mutated_json_never_raises(value):
    account(record(value))


MAPPED = pa.array([[("a", "x")], [], [("b", "y"), ("c", None)]], pa.map_(pa.string(), pa.string()))


@settings(max_examples=300)
@given(mutations(stream(table(query=MAPPED), rows_per_batch=2)))
def test_mutated_arrow_never_raises(value):
    account(record(value, headers=[ARROW]))


@given(st.text(), st.lists(st.tuples(st.sampled_from("abc"), st.text()), max_size=4))
def test_keys_are_refused_exactly_where_one_is_repeated(query, pairs):
    """The cheap count of colons must agree with a reader that looks at every key."""
    body = ",".join(f"{orjson.dumps(k).decode()} :{orjson.dumps(v).decode()}" for k, v in pairs)
    value = f'{{"candidate_id":"a","query":{orjson.dumps(query).decode()},"document":{{{body}}}}}'
    repeated = len(dict(pairs)) != len(pairs)
    candidates, rejected = decode([record(value.encode())], WIDE)
    assert [one.reason for one in rejected] == ([Reason.DUPLICATE_KEY] if repeated else [])
    assert len(candidates) == (0 if repeated else 1)


def test_a_batch_whose_rows_would_each_carry_far_too_much_is_rejected_whole():
    """Its rejects, or its verdicts as JSON, were gigabytes, and ended each replica that encoded them."""
    columns = {name: [str(row) for row in range(300)] for name in ("candidate_id", "query", "document")}
    value = stream(pa.table(columns))
    heavy = record(value, headers=[ARROW, ("trace", bytes(WIDE.max_message_bytes * 9 // 10))])
    candidates, (rejected,) = decode([heavy], WIDE)
    assert (rejected.reason, rejected.row, len(candidates)) == (Reason.TOO_LARGE, -1, 0)
