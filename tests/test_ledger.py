from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvariantBroken
from pipeline.ledger import Ledger
from pipeline.records import Claim, Completed, Counts, Mode, TopicPartition

A, B = TopicPartition("in", 0), TopicPartition("in", 1)


def claim(start: int, end: int, *, source: TopicPartition = A, assignment: int = 1) -> Claim:
    return Claim(source, start, end, assignment, Mode.ENFORCE)


def completed(piece: Claim, *, n_bytes: int = 0) -> Completed:
    return Completed(piece, b"", Counts(records=piece.n_offsets), n_bytes=n_bytes)


def ranges(released: list[Completed]) -> list[tuple[int, int]]:
    return [(one.claim.start, one.claim.end) for one in released]


@given(st.data())
def test_any_pieces_in_any_order_are_released_once_in_offset_order(data: st.DataObject) -> None:
    """The property that the promise "nothing lost, nothing repeated" rests on."""
    ledger = Ledger(1, {A: 100, B: 7})
    pieces: list[Claim] = []
    for source, first in ((A, 100), (B, 7)):
        start = first
        for length in data.draw(st.lists(st.integers(1, 9), max_size=6)):
            whole = claim(start, start + length, source=source)
            ledger.hand_out(whole)
            cuts = [*sorted(data.draw(st.sets(st.integers(whole.start + 1, whole.end)))), whole.end]
            at = whole.start
            for cut in dict.fromkeys(cuts):
                pieces.append(whole.part(at, cut))
                at = cut
            start += length
    order = data.draw(st.permutations(pieces))
    repeated = data.draw(st.lists(st.sampled_from(order), max_size=3)) if order else []
    seen: dict[TopicPartition, list[int]] = {A: [], B: []}
    came: set[Claim] = set()
    for piece in [*order, *repeated]:
        assert ledger.accept(completed(piece)) is (piece not in came)
        came.add(piece)
        for one in ledger.release(max_messages=data.draw(st.integers(1, 20))):
            seen[one.claim.source] += range(one.claim.start, one.claim.end)
    while rest := ledger.release(max_messages=5):
        for one in rest:
            seen[one.claim.source] += range(one.claim.start, one.claim.end)
    for source in (A, B):
        assert seen[source] == list(range(*bounds(pieces, source)))
    assert ledger.unfinished() == []


def bounds(pieces: list[Claim], source: TopicPartition) -> tuple[int, int]:
    own = [piece for piece in pieces if piece.source == source]
    return (min(p.start for p in own), max(p.end for p in own)) if own else (0, 0)


def test_nothing_is_released_past_a_gap() -> None:
    ledger = Ledger(1, {A: 0})
    ledger.hand_out(claim(0, 10))
    ledger.hand_out(claim(10, 20))
    ledger.accept(completed(claim(10, 20)))
    assert ledger.release(max_messages=100) == []
    ledger.accept(completed(claim(0, 10)))
    assert ranges(ledger.release(max_messages=100)) == [(0, 10), (10, 20)]


def test_a_result_of_another_assignment_is_dropped() -> None:
    ledger = Ledger(2, {A: 0})
    ledger.hand_out(claim(0, 10, assignment=2))
    assert not ledger.accept(completed(claim(0, 10, assignment=1)))
    assert not ledger.accept(completed(claim(0, 10, source=B, assignment=2)))
    assert ledger.unfinished() == [claim(0, 10, assignment=2)]


def test_what_has_not_come_back_is_named() -> None:
    ledger = Ledger(1, {A: 0})
    ledger.hand_out(claim(0, 10))
    ledger.accept(completed(claim(3, 6)))
    assert ledger.unfinished() == [claim(0, 3), claim(6, 10)]
    assert ledger.offsets_out() == 7


def test_a_claim_stays_in_flight_until_it_is_committed() -> None:
    ledger = Ledger(1, {A: 0})
    ledger.hand_out(claim(0, 10))
    ledger.accept(completed(claim(0, 4), n_bytes=40))
    ledger.accept(completed(claim(4, 10), n_bytes=60))
    assert len(ledger.release(max_messages=100)) == 2
    assert (ledger.in_flight(), ledger.bytes_back()) == (1, 100)
    ledger.commit({A: 4})
    assert (ledger.in_flight(), ledger.bytes_back()) == (1, 60)
    ledger.commit({A: 10})
    assert (ledger.in_flight(), ledger.bytes_back()) == (0, 0)
    assert ledger.committed_to(A) == 10


@pytest.mark.parametrize("position", [0, 11])
def test_a_commit_that_does_not_move_forward_or_runs_ahead_is_refused(position: int) -> None:
    ledger = Ledger(1, {A: 0})
    ledger.hand_out(claim(0, 10))
    ledger.accept(completed(claim(0, 10)))
    ledger.release(max_messages=1)
    with pytest.raises(InvariantBroken):
        ledger.commit({A: position})


@pytest.mark.parametrize(
    "wrong",
    [claim(1, 5), claim(0, 5, assignment=2), claim(0, 5, source=B)],
    ids=["a gap", "another assignment", "another partition"],
)
def test_a_claim_that_does_not_fit_the_books_is_refused(wrong: Claim) -> None:
    with pytest.raises(InvariantBroken):
        Ledger(1, {A: 0}).hand_out(wrong)


def test_a_piece_that_overlaps_what_came_back_is_refused() -> None:
    ledger = Ledger(1, {A: 0})
    ledger.hand_out(claim(0, 10))
    ledger.accept(completed(claim(0, 5)))
    with pytest.raises(InvariantBroken):
        ledger.accept(completed(claim(3, 7)))


def test_a_claim_is_replaced_only_by_pieces_that_cover_it() -> None:
    ledger = Ledger(1, {A: 0})
    ledger.hand_out(claim(0, 10))
    with pytest.raises(InvariantBroken):
        ledger.replace(claim(0, 10), claim(0, 4), claim(5, 10))
    ledger.replace(claim(0, 10), claim(0, 4), claim(4, 10))
    assert ledger.unfinished() == [claim(0, 4), claim(4, 10)]


def test_release_stops_at_the_number_of_messages_asked_for() -> None:
    ledger = Ledger(1, {A: 0})
    for start in range(0, 30, 10):
        ledger.hand_out(claim(start, start + 10))
        ledger.accept(completed(claim(start, start + 10)))
    assert ranges(ledger.release(max_messages=15)) == [(0, 10), (10, 20)]
    assert ranges(ledger.release(max_messages=15)) == [(20, 30)]


def test_bytes_count_from_the_moment_they_came_back() -> None:
    """What waited behind a gap was counted neither as out nor as back, and memory was not bounded by it."""
    ledger = Ledger(1, {A: 0})
    ledger.hand_out(claim(0, 10))
    ledger.hand_out(claim(10, 20))
    ledger.accept(completed(claim(10, 20), n_bytes=100))
    assert ledger.bytes_back() == 100


def test_a_piece_that_is_set_apart_is_out_by_itself() -> None:
    ledger = Ledger(1, {A: 0})
    ledger.hand_out(claim(0, 10))
    assert ledger.set_apart(claim(3, 6))
    assert ledger.unfinished() == [claim(0, 3), claim(3, 6), claim(6, 10)]
    assert ledger.set_apart(claim(3, 6))
    ledger.accept(completed(claim(3, 6)))
    assert not ledger.set_apart(claim(3, 6))
    assert not ledger.set_apart(claim(0, 3, assignment=2))
    with pytest.raises(InvariantBroken):
        ledger.set_apart(claim(2, 4))


def test_what_holds_up_a_partition_while_later_claims_are_back_is_named() -> None:
    ledger = Ledger(1, {A: 0, B: 0})
    for first in (claim(0, 5), claim(5, 10), claim(0, 5, source=B)):
        ledger.hand_out(first)
    assert ledger.overtaken() == []
    ledger.accept(completed(claim(5, 10)))
    assert ledger.overtaken() == [claim(0, 5)]
    ledger.accept(completed(claim(0, 2)))
    ledger.release(max_messages=100)
    assert ledger.overtaken() == [claim(2, 5)]
    ledger.accept(completed(claim(2, 5)))
    assert ledger.overtaken() == [], "all of it is back, and only to be released"
