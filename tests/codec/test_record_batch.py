"""What is encoded is what Kafka's own client reads."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import BATCH_BYTES, encode_batches
from pipeline.records import Output, Route
from tests.messages import all_of

BYTES = st.none() | st.binary(max_size=20) | st.integers(0, 20_000).map(bytes)
HEADERS = st.lists(st.tuples(st.text(max_size=9), BYTES), max_size=3)
OUTPUTS = st.lists(st.builds(Output, st.sampled_from(Route), BYTES, BYTES, HEADERS), max_size=80)


def by_route(outputs):
    found = defaultdict(list)
    for output in outputs:
        found[output.route].append(output._replace(headers=list(output.headers)))
    return found


@given(OUTPUTS)
def test_every_route_reads_what_was_written_in_its_order(outputs):
    batches = encode_batches(outputs)
    assert by_route(all_of(batches)) == by_route(outputs)
    assert len({batch.route for batch in batches}) == len({output.route for output in outputs})


def test_a_batch_ends_where_the_next_message_would_be_too_much():
    half = Output(Route.PASS, None, bytes(BATCH_BYTES // 2 - 200), ())
    batches = encode_batches([half] * 5)
    assert [batch.n_messages for batch in batches] == [2, 2, 1]
    assert all(len(batch.body) < BATCH_BYTES for batch in batches)
    assert all_of(batches) == [half._replace(headers=[])] * 5


def test_a_message_that_is_larger_than_a_batch_has_one_of_its_own():
    small = Output(Route.PASS, b"k", b"v", [])
    large = small._replace(value=bytes(2 * BATCH_BYTES))
    batches = encode_batches([small, large, small, small])
    assert [batch.n_messages for batch in batches] == [1, 1, 2]
    assert all_of(batches) == [small, large, small, small]


def test_of_nothing_there_is_no_batch():
    assert encode_batches([]) == []
