from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ReplicasKeepDying
from pipeline.ledger import Ledger
from pipeline.planner import FIRST_OFFSETS, MAX_CONDEMNED, Bounds, Planner
from pipeline.records import Claim, Completed, Counts, Mode, TopicPartition

A, B = TopicPartition("in", 0), TopicPartition("in", 1)
BOUNDS = Bounds(
    max_offsets=1000,
    min_offsets=10,
    target_s=1.0,
    claims_per_replica=4,
    min_replicas=1,
    max_replicas=1,
    drain_s=10.0,
    max_bytes=1 << 20,
)
ONE_BY_ONE = replace(BOUNDS, max_offsets=1, min_offsets=1, claims_per_replica=1)
GROWING = replace(BOUNDS, max_replicas=8)


def back(ledger: Ledger, *claims: Claim) -> None:
    for claim in claims:
        assert ledger.accept(Completed(claim, b"", Counts(records=claim.n_offsets)))


def measured(*, offsets_per_s: float, bytes_per_offset: int = 1) -> Planner:
    """A planner that has seen one claim come back at this speed."""
    planner = Planner(BOUNDS)
    claim = Claim(A, 0, 1000, 1, Mode.ENFORCE)
    planner.observe(
        Completed(claim, b"", Counts(), n_bytes=1000 * bytes_per_offset, score_s=1000 / offsets_per_s)
    )
    return planner


def test_partitions_take_turns() -> None:
    ledger = Ledger(1, {A: 0, B: 0})
    claims = Planner(BOUNDS).plan(ledger, {A: 10_000, B: 10_000}, Mode.ENFORCE)
    assert sorted(claim.source for claim in claims) == [A, A, B, B]


def test_what_is_in_flight_is_bounded_until_it_is_committed() -> None:
    ledger, planner = Ledger(1, {A: 0}), Planner(BOUNDS)
    claims = planner.plan(ledger, {A: 10_000}, Mode.ENFORCE)
    assert len(claims) == BOUNDS.claims_per_replica
    back(ledger, *claims)
    ledger.release(max_messages=10_000)
    assert planner.plan(ledger, {A: 10_000}, Mode.ENFORCE) == []
    ledger.commit({A: claims[0].end})
    assert len(planner.plan(ledger, {A: 10_000}, Mode.ENFORCE)) == 1


def in_flight(planner: Planner, lag: int) -> int:
    """Claims that are handed out at once for a lag."""
    return len(planner.plan(Ledger(1, {A: 0}), {A: lag}, Mode.ENFORCE))


def taught(
    bounds: Bounds, *, score_s: float, prepare_s: float = 0.0, n_offsets: int = 100, times: int = 20
) -> Planner:
    """A planner that saw claims come back under a lag that asks for all the replicas that there may be."""
    planner = Planner(bounds)
    for _ in range(times):
        claim = Claim(A, 0, n_offsets, 1, Mode.ENFORCE)
        planner.observe(Completed(claim, b"", Counts(), prepare_s=prepare_s, score_s=score_s))
        in_flight(planner, 1_000_000)
    return planner


def test_claims_in_flight_are_for_the_replicas_that_drain_the_lag_in_time() -> None:
    """Any lag grew the pool to its maximum, however soon one replica would have been done with it."""
    planner = taught(GROWING, score_s=1.0)  # 100 offsets a second: one replica drains 1,000 in time
    assert [in_flight(planner, lag) for lag in (1_000, 1_010, 4_000, 1_000_000)] == [4, 8, 16, 32]


def test_what_is_coming_is_counted_with_the_lag() -> None:
    """Of a lag alone one had to stand, for the replicas that keep up with a steady load."""
    planner = taught(GROWING, score_s=1.0)
    claims = planner.plan(Ledger(1, {A: 0}), {A: 900}, Mode.ENFORCE, coming=2_100)
    assert len(claims) == 12


def test_the_fewest_replicas_are_kept_at_work_whatever_the_lag() -> None:
    planner = taught(replace(GROWING, min_replicas=3), score_s=1.0)
    assert in_flight(planner, 1_000) == 12


def test_until_a_claim_has_come_back_there_are_claims_for_the_fewest_replicas() -> None:
    assert in_flight(Planner(GROWING), 1_000_000) == 4


def test_the_bound_grows_twofold_at_most_each_time_that_claims_come_back() -> None:
    """A trickle's claims are mostly fixed cost: what they took made a burst of seconds ask for the whole pool."""
    planner = taught(GROWING, score_s=0.05, n_offsets=1, times=1)
    burst = 15_000  # 7.5 s of a replica at 2,000 a second; at the pace of the trickle it would take 750
    seen = [in_flight(planner, burst), in_flight(planner, burst)]
    for _ in range(4):
        planner.observe(Completed(Claim(A, 0, 1000, 1, Mode.ENFORCE), b"", Counts(), score_s=0.5))
        seen.append(in_flight(planner, burst))
    assert max(seen) == 8
    assert seen[-1] == 4


def test_where_prepare_takes_longest_it_does_not_wait_for_claims() -> None:
    planner = taught(GROWING, score_s=0.01, prepare_s=1.0)
    assert in_flight(planner, 10_000) == 11  # 1,000 s of Prepare and 1 s of replicas, in 10 s
    assert in_flight(planner, 1_000_000) == 32


def test_what_was_lost_teaches_nothing_of_the_speed_of_a_replica() -> None:
    planner = measured(offsets_per_s=500)
    planner.observe(Completed(Claim(A, 0, 1_000_000, 1, Mode.ENFORCE), b"", Counts(), lost=1_000_000))
    assert planner.plan(Ledger(1, {A: 0}), {A: 100_000}, Mode.ENFORCE)[0].n_offsets == 500


def test_bytes_in_flight_are_bounded_by_what_came_back_before() -> None:
    planner = measured(offsets_per_s=1000, bytes_per_offset=2000)
    claims = planner.plan(Ledger(1, {A: 0}), {A: 100_000}, Mode.ENFORCE)
    assert len(claims) == 1  # 1,000 offsets of 2,000 bytes each are over the one MiB allowed


def test_a_claim_grows_with_the_lag_and_with_the_speed_of_a_replica() -> None:
    def first(planner: Planner, lag: int) -> int:
        return planner.plan(Ledger(1, {A: 0}), {A: lag}, Mode.ENFORCE)[0].n_offsets

    assert first(Planner(BOUNDS), 100_000) == FIRST_OFFSETS  # nothing measured yet: small
    assert first(measured(offsets_per_s=300), 100_000) == 300
    assert first(measured(offsets_per_s=1e9), 100_000) == BOUNDS.max_offsets
    assert first(measured(offsets_per_s=1e9), 800) == 200
    assert first(measured(offsets_per_s=1e9), 3) == 3


def test_at_a_trickle_records_gather_behind_two_claims() -> None:
    ledger, planner = Ledger(1, {A: 0}), Planner(BOUNDS)
    sizes = [len(planner.plan(ledger, {A: end}, Mode.ENFORCE)) for end in (1, 2, 3, 4, 13)]
    assert sizes == [1, 1, 0, 0, 1]


def test_the_mode_travels_with_the_claim() -> None:
    claims = Planner(BOUNDS).plan(Ledger(1, {A: 0}), {A: 5}, Mode.BRAKED)
    assert [claim.mode for claim in claims] == [Mode.BRAKED]


def test_an_ended_execution_s_claims_are_handed_out_first_and_unchanged() -> None:
    ledger, planner = Ledger(1, {A: 0}), Planner(BOUNDS)
    claims = planner.plan(ledger, {A: 100}, Mode.ENFORCE)
    planner.hand_again(ledger)
    assert planner.plan(ledger, {A: 100}, Mode.ENFORCE) == claims


def test_suspects_are_tried_alone_and_a_failed_one_is_halved_down_to_the_row() -> None:
    ledger, planner = Ledger(1, {A: 0, B: 0}), Planner(BOUNDS)
    planner.plan(ledger, {A: 40, B: 40}, Mode.ENFORCE)
    poison = (A, 13)
    condemned: list[Claim] = []
    planner.suspect(ledger)
    for _ in range(200):
        handed = planner.plan(ledger, {A: 40, B: 40}, Mode.ENFORCE)
        if not handed:
            break
        assert len(handed) == 1 or condemned != []
        for claim in handed:
            holds = claim.source == poison[0] and claim.start <= poison[1] < claim.end
            if claim.condemned:
                condemned.append(claim)
            if holds and not claim.condemned:
                planner.suspect(ledger)
            else:
                back(ledger, claim)
    assert [(one.source, one.start, one.end) for one in condemned] == [(A, 13, 14)]
    assert ledger.unfinished() == []


def test_a_claim_that_failed_in_company_is_never_halved() -> None:
    """Otherwise an innocent single row could be condemned for its neighbour."""
    ledger, planner = Ledger(1, {A: 0, B: 0}), Planner(BOUNDS)
    ends = {A: 1, B: 1}
    planner.plan(ledger, ends, Mode.ENFORCE)
    planner.suspect(ledger)
    planner.suspect(ledger)
    handed = planner.plan(ledger, ends, Mode.ENFORCE)
    assert [claim.condemned for claim in handed] == [False]


def test_a_rotation_among_suspects_keeps_them_alone() -> None:
    ledger, planner = Ledger(1, {A: 0, B: 0}), Planner(BOUNDS)
    ends = {A: 5, B: 5}
    planner.plan(ledger, ends, Mode.ENFORCE)
    planner.suspect(ledger)
    alone = planner.plan(ledger, ends, Mode.ENFORCE)
    planner.hand_again(ledger)
    assert planner.plan(ledger, ends, Mode.ENFORCE) == alone
    assert planner.plan(ledger, ends, Mode.ENFORCE) == []


def test_the_last_suspect_gets_no_company_either() -> None:
    """Once the last suspect was handed out, new claims were cut beside it: its failure then told nothing, and
    a poisonous row at the end of one partition was never found while another partition had lag."""
    ledger, planner = Ledger(1, {A: 0, B: 0}), Planner(BOUNDS)
    planner.plan(ledger, {A: 0, B: 1}, Mode.ENFORCE)
    planner.suspect(ledger)
    (suspect,) = planner.plan(ledger, {A: 500, B: 1}, Mode.ENFORCE)
    assert planner.plan(ledger, {A: 500, B: 1}, Mode.ENFORCE) == []
    back(ledger, suspect)
    assert planner.plan(ledger, {A: 500, B: 1}, Mode.ENFORCE) != []


def test_what_waited_unread_while_others_became_suspects_is_handed_out_in_its_turn() -> None:
    """A claim on its first attempt that came back unread went where nothing is taken from while there are
    suspects, and these waited for it: nothing was handed out any more."""
    ledger, planner = Ledger(1, {A: 0, B: 0}), Planner(BOUNDS)
    ends = {A: 20, B: 20}
    unread = planner.plan(ledger, ends, Mode.ENFORCE)[0]
    planner.hand_one_again(ledger, unread)
    planner.suspect(ledger)
    seen = []
    for _ in range(20):
        for claim in planner.plan(ledger, ends, Mode.ENFORCE):
            if claim.attempt == 1 and claim not in seen:
                planner.hand_one_again(ledger, claim)  # the broker is still away
            else:
                back(ledger, claim)
            seen.append(claim)
    assert ledger.n_out() == 0
    assert ledger.cut_to(A) == ledger.cut_to(B) == 20


def test_what_waits_of_a_partition_that_nobody_leads_goes_on_waiting_and_holds_up_no_other() -> None:
    """Handed out again and again, it was waited for each time, and claims of other partitions behind it."""
    ledger, planner = Ledger(1, {A: 0, B: 0}), Planner(BOUNDS)
    (unread,) = planner.plan(ledger, {A: 1}, Mode.ENFORCE)
    planner.hand_one_again(ledger, unread)
    others = planner.plan(ledger, {B: 500}, Mode.ENFORCE, unreadable={A})
    assert {claim.source for claim in others} == {B}
    assert planner.plan(ledger, {A: 1, B: 500}, Mode.ENFORCE)[0] == unread


def test_the_unread_rest_of_a_claim_is_handed_out_although_its_first_piece_is_still_out() -> None:
    """The rest could overtake the first piece; it then waited under a name that the ledger did not know, and
    after a failure the same offsets were handed out twice, and nothing else any more."""
    ledger, planner = Ledger(1, {A: 0}), Planner(BOUNDS)
    (whole,) = planner.plan(ledger, {A: 10}, Mode.ENFORCE)
    planner.hand_one_again(ledger, whole.part(4, 10))
    planner.suspect(ledger)
    tried = []
    while claims := planner.plan(ledger, {A: 10}, Mode.ENFORCE):
        tried += [(claim.start, claim.end, claim.attempt) for claim in claims]
        back(ledger, *claims)
    assert tried == [(0, 4, 2), (4, 10, 1)]


def test_an_unread_claim_that_is_settled_meanwhile_is_not_handed_out() -> None:
    ledger, planner = Ledger(1, {A: 0}), Planner(BOUNDS)
    (claim,) = planner.plan(ledger, {A: 10}, Mode.ENFORCE)
    back(ledger, claim)
    planner.hand_one_again(ledger, claim)
    assert planner.plan(ledger, {A: 10}, Mode.ENFORCE) == []


@given(st.data())
def test_however_executions_end_every_row_comes_back_and_only_the_poison_is_condemned(
    data: st.DataObject,
) -> None:
    """Failures, rotations and broker trouble in any order: no claim waits for ever, none is given up."""
    ledger, planner = Ledger(1, {A: 0, B: 0}), Planner(BOUNDS)
    ends = {A: data.draw(st.integers(0, 60)), B: data.draw(st.integers(1, 60))}
    poison = (B, data.draw(st.integers(0, ends[B] - 1)))
    held: list[Claim] = []
    condemned: set[tuple[TopicPartition, int]] = set()
    troubles = data.draw(st.lists(st.sampled_from(["rotate", "unread", "none"]), max_size=12))
    for _ in range(400):
        held += planner.plan(ledger, ends, Mode.ENFORCE)
        if not held:
            break
        trouble = troubles.pop() if troubles else "none"
        claim = held.pop(data.draw(st.integers(0, len(held) - 1)) if trouble == "unread" else 0)
        if trouble == "rotate":
            planner.hand_again(ledger)
            held = []
        elif trouble == "unread":
            rest = claim.part(data.draw(st.integers(claim.start, claim.end - 1)), claim.end)
            planner.hand_one_again(ledger, rest)
            held += [claim.part(claim.start, rest.start)] if rest != claim else []
        elif claim.source == poison[0] and claim.start <= poison[1] < claim.end and not claim.condemned:
            planner.suspect(ledger)
            held = []
        else:
            back(ledger, claim)
            condemned |= {(claim.source, claim.start)} if claim.condemned else set()
            for completed in ledger.release(max_messages=1000):
                ledger.commit({completed.claim.source: completed.claim.end})
    assert {source: ledger.committed_to(source) for source in (A, B)} == ends
    assert condemned == {poison}


def test_a_new_assignment_forgets_what_was_to_be_handed_out_again() -> None:
    planner = Planner(BOUNDS)
    old = Ledger(1, {A: 0})
    planner.plan(old, {A: 5}, Mode.ENFORCE)
    planner.hand_again(old)
    planner.forget()
    claims = planner.plan(Ledger(2, {A: 0}), {A: 5}, Mode.ENFORCE)
    assert [claim.assignment for claim in claims] == [2]


@given(
    ends=st.dictionaries(st.sampled_from([A, B]), st.integers(0, 5000), min_size=2),
    seconds=st.floats(0, 100),
)
def test_claims_cover_the_lag_without_gap_or_overlap(ends: dict[TopicPartition, int], seconds: float) -> None:
    ledger, planner = Ledger(1, {A: 0, B: 0}), Planner(replace(BOUNDS, max_offsets=700))
    planner.observe(Completed(Claim(A, 0, 100, 1, Mode.ENFORCE), b"", Counts(), score_s=seconds))
    seen = {A: 0, B: 0}
    while claims := planner.plan(ledger, ends, Mode.ENFORCE):
        for claim in claims:
            assert claim.start == seen[claim.source]
            seen[claim.source] = claim.end
        back(ledger, *claims)
        ledger.release(max_messages=100_000)
        ledger.commit({claim.source: claim.end for claim in claims})
    assert seen == ends


def condemn(planner: Planner, ledger: Ledger, ends: dict[TopicPartition, int]) -> Claim:
    """Let what is handed out bring its execution down, until one claim is condemned and handed out."""
    while True:
        (claim,) = planner.plan(ledger, ends, Mode.ENFORCE)
        if claim.condemned:
            return claim
        planner.suspect(ledger)


def test_rows_that_are_condemned_one_after_the_other_stop_the_gate() -> None:
    """A device that fails at every row had them all rejected, one by one."""
    ledger, planner = Ledger(1, {A: 0}), Planner(ONE_BY_ONE)
    for _ in range(MAX_CONDEMNED - 1):
        claim = condemn(planner, ledger, {A: 100})
        back(ledger, claim)
        planner.observe(Completed(claim, b"", Counts(rejected=1)))
        ledger.release(max_messages=1)
        ledger.commit({A: claim.end})
    with pytest.raises(ReplicasKeepDying):
        condemn(planner, ledger, {A: 100})


def test_a_claim_that_is_scored_between_them_shows_that_it_is_the_rows() -> None:
    ledger, planner = Ledger(1, {A: 0}), Planner(ONE_BY_ONE)
    for n in range(3 * MAX_CONDEMNED):
        claim = condemn(planner, ledger, {A: 100})
        back(ledger, claim)
        planner.observe(Completed(claim, b"", Counts(rejected=1)))
        planner.observe(Completed(replace(claim, start=n, end=n + 1), b"", Counts(pass_=1)))
        ledger.release(max_messages=1)
        ledger.commit({A: claim.end})


def test_a_batch_message_of_which_some_rows_were_scored_shows_that_it_is_the_rows() -> None:
    ledger, planner = Ledger(1, {A: 0}), Planner(ONE_BY_ONE)
    for _ in range(3 * MAX_CONDEMNED):
        claim = condemn(planner, ledger, {A: 100})
        back(ledger, claim)
        planner.observe(Completed(claim, b"", Counts(pass_=2, rejected=1)))
        ledger.release(max_messages=1)
        ledger.commit({A: claim.end})


def test_a_trial_teaches_nothing_of_the_speed_of_a_replica() -> None:
    """One message that took half a minute to try made the next forty claims one message each."""
    planner = measured(offsets_per_s=500)
    tried = Claim(A, 1000, 1001, 1, Mode.ENFORCE, condemned=True)
    planner.observe(Completed(tried, b"", Counts(pass_=2, rejected=1), score_s=30.0))
    assert planner.plan(Ledger(1, {A: 0}), {A: 100_000}, Mode.ENFORCE)[0].n_offsets == 500
