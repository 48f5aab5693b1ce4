"""The account closes exactly when nothing was lost, doubled, made up or reordered."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.account import N_EXAMPLES, Held, Report, account
from pipeline.codec import Audit
from pipeline.records import Counts, Mode, Route, TopicPartition
from pipeline.sightings import ENDINGS, WHOLE, Stream, Trail

SOURCE = TopicPartition("candidates", 2)
ROUTES = (Route.PRUNE, Route.REVIEW, Route.PASS, Route.REJECT)
Said = tuple[Route, int, int]
"""Route, offset, row."""


def held(rows: dict[int, int], *, start: int = 0, end: int | None = None, until: int | None = None) -> Held:
    """An input partition by its messages' offsets and rows; 0 rows are a bad message."""
    offsets = np.array(sorted(rows), np.int64)
    end = (max(rows, default=0) + 1) if end is None else end
    n_rows = np.array([rows[at] for at in sorted(rows)], np.int64)
    return Held(SOURCE, start, end, end if until is None else until, offsets, n_rows)


def trails(said: list[Said]) -> list[tuple[Stream, Trail]]:
    """One stream per route, in the order given; the action is the route's."""
    streams: dict[Route, Trail] = {}
    for route, offset, row in said:
        streams.setdefault(route, Trail()).add([offset], [row], [ENDINGS.index(_ending(route))])
    return [(Stream(SOURCE, route, 0), trail) for route, trail in streams.items()]


def _ending(route: Route) -> str:
    return "rejected" if route is Route.REJECT else route.value


def audit(start: int, end: int, mode: Mode = Mode.ENFORCE, **counts: int) -> Audit:
    return Audit(SOURCE, start, end, 1, mode, Counts(**counts), time_ms=0)


def problems(report: Report) -> tuple[int, int, int, int]:
    return report.missing, report.repeated, report.unexpected, report.out_of_order


@st.composite
def runs(draw: st.DrawFn) -> tuple[dict[int, int], list[Said]]:
    """A partition and everything that a sound gate says about it, in order."""
    offsets = sorted(draw(st.sets(st.integers(0, 60), min_size=1, max_size=15)))
    rows: dict[int, int] = {}
    said: list[Said] = []
    for offset in offsets:
        rows[offset] = draw(st.integers(0, 4))
        if rows[offset] == 0 or draw(st.integers(0, 9)) == 0:
            said.append((Route.REJECT, offset, WHOLE))
        else:
            said.extend((draw(st.sampled_from(ROUTES)), offset, row) for row in range(rows[offset]))
    return rows, said


@given(runs())
def test_what_a_sound_gate_says_closes_and_adds_up(run):
    rows, said = run
    report = account(held(rows), trails(said))
    assert report.closed
    assert report.examples == ()
    routes = Counter(route for route, _, _ in said)
    tallies = (report.prune, report.review, report.pass_, report.rejected)
    assert tallies == tuple(routes[route] for route in ROUTES)
    assert report.candidates == len(said) == sum(tallies)


@given(runs(), st.data())
def test_whatever_is_lost_is_missing(run, data):
    rows, said = run
    lost = data.draw(st.sampled_from(said))
    report = account(held(rows), trails([one for one in said if one != lost]))
    # A message that was rejected as a whole, and is not, has all of its rows to account for.
    n_lost = max(1, rows[lost[1]]) if lost[2] == WHOLE else 1
    assert problems(report) == (n_lost, 0, 0, 0)
    first = 0 if lost[2] == WHOLE and rows[lost[1]] else lost[2]
    assert report.examples[0] == f"missing: candidates[2]@{lost[1]}#{first}"


@given(runs(), st.data())
def test_whatever_ends_twice_is_repeated_even_elsewhere(run, data):
    rows, said = run
    _, offset, row = data.draw(st.sampled_from(said))
    again = Route.REJECT if row == WHOLE else data.draw(st.sampled_from(ROUTES))
    report = account(held(rows), [*trails(said), *trails([(again, offset, row)])])
    assert problems(report) == (0, 1, 0, 0)
    assert report.examples == (f"repeated: candidates[2]@{offset}#{row}",)


@given(runs(), st.data())
def test_two_neighbours_of_a_stream_that_change_places_are_out_of_order(run, data):
    rows, said = run
    route = data.draw(st.sampled_from(ROUTES))
    positions = [at for at, one in enumerate(said) if one[0] is route]
    assume(len(positions) > 1)
    at = data.draw(st.integers(0, len(positions) - 2))
    left, right = positions[at], positions[at + 1]
    said[left], said[right] = said[right], said[left]
    report = account(held(rows), trails(said))
    assert problems(report) == (0, 0, 0, 1)
    assert report.examples == (f"out_of_order: candidates[2]@{said[right][1]}#{said[right][2]}",)


@given(runs(), st.integers(0, 70), st.integers(-1, 5), st.sampled_from(ROUTES))
def test_an_end_of_what_was_never_read_is_unexpected(run, offset, row, route):
    rows, said = run
    known = row < rows.get(offset, -1) and (row != WHOLE or route is Route.REJECT)
    assume(not known)
    report = account(held(rows, end=71), trails([*said, (route, offset, row)]))
    assert report.unexpected == 1
    assert (report.missing, report.repeated) == (0, 0)
    assert f"unexpected: candidates[2]@{offset}#{row}" in report.examples


def test_rows_that_ended_are_repeated_when_their_message_is_rejected_as_a_whole():
    said = [(Route.PASS, 5, 0), (Route.REJECT, 5, WHOLE), (Route.PRUNE, 5, 1)]
    report = account(held({5: 3}), trails(said))
    assert problems(report) == (0, 2, 0, 0)
    assert report.candidates == 1


def test_what_comes_again_later_is_a_repeat_and_no_breach_of_order():
    said = [(Route.PASS, offset, 0) for offset in (1, 2, 3, 1, 2, 3)]
    assert problems(account(held({1: 1, 2: 1, 3: 1}), trails(said))) == (0, 3, 0, 0)


def test_what_ends_during_the_look_is_neither_owed_nor_unexpected():
    account_of = held({4: 1}, end=5, until=8)
    said = [(Route.PASS, 4, 0), (Route.PASS, 7, 0)]
    assert problems(account(account_of, trails(said))) == (0, 0, 0, 0)
    assert account(account_of, trails([*said, (Route.PASS, 8, 0)])).unexpected == 1


def test_what_was_said_before_the_start_is_passed_over():
    report = account(held({4: 1}, start=4), trails([(Route.PASS, 3, 0), (Route.PASS, 4, 0)]))
    assert report.closed
    assert report.pass_ == 1


def test_an_empty_partition_closes():
    assert account(held({}, end=0), []) == Report()


def test_reports_add_up():
    one = account(held({1: 1, 2: 1}), trails([(Route.PASS, 1, 0)]))
    both = one + one
    assert (both.candidates, both.missing, both.pass_) == (4, 2, 2)
    assert both.examples == one.examples * 2
    assert both.as_dict()["pass"] == 2
    assert both.as_dict()["closed"] is False


def test_many_problems_are_counted_and_the_first_are_named():
    report = account(held(dict.fromkeys(range(500), 1)), [])
    assert report.missing == 500
    assert len(report.examples) == N_EXAMPLES


def test_a_million_rows_are_counted():
    n = 1_000_000
    trail = Trail()
    trail.add(range(n), [0] * n, [2] * n)
    rows = Held(SOURCE, 0, n, n, np.arange(n), np.ones(n, np.int64))
    report = account(rows, [(Stream(SOURCE, Route.PASS, 0), trail)])
    assert report.closed
    assert report.candidates == report.pass_ == n


ROWS = {0: 1, 1: 4, 2: 0, 5: 1}
SAID = [(Route.PRUNE, 1, 0), (Route.REVIEW, 1, 2), (Route.REJECT, 1, 3), (Route.REJECT, 2, WHOLE)]
AUDITS = [
    audit(0, 2, prune=1, review=1, pass_=2, rejected=1, records=2),
    audit(2, 6, pass_=1, rejected=1, records=2),
]


class TestWherePassesAreNotSent:
    """Then the audits' counts close the account."""

    def settle(self, said: list[Said], audits: list[Audit]) -> Report:
        return account(held(ROWS), trails(said), audits=audits)

    def test_it_closes_with_every_pass_counted(self):
        report = self.settle(SAID, AUDITS)
        assert report.closed
        assert (report.candidates, report.pass_, report.prune, report.rejected) == (7, 3, 1, 2)

    @pytest.mark.parametrize("at", range(4))
    def test_whatever_is_lost_is_missing(self, at):
        report = self.settle(SAID[:at] + SAID[at + 1 :], AUDITS)
        assert problems(report) == (1, 0, 0, 0)
        assert "found 0" in report.examples[0] or "found 1" in report.examples[0]

    @pytest.mark.parametrize("at", range(4))
    def test_whatever_is_sent_twice_is_repeated(self, at):
        assert problems(self.settle([*SAID, SAID[at]], AUDITS))[:3] == (0, 1, 0)

    def test_a_claim_without_an_audit_is_missing(self):
        assert self.settle(SAID, AUDITS[1:]).missing == 5
        assert self.settle(SAID, []).missing == 7

    def test_a_claim_that_was_audited_twice_is_repeated(self):
        report = self.settle(SAID, [*AUDITS, AUDITS[0]])
        assert report.repeated == 5
        assert not report.missing

    def test_a_candidate_that_nobody_counted_is_missing(self):
        short = [audit(0, 2, prune=1, review=1, pass_=1, rejected=1, records=2), AUDITS[1]]
        report = self.settle(SAID, short)
        assert problems(report) == (1, 0, 0, 0)

    def test_a_gate_that_only_observes_sends_no_prunes(self):
        rejects = [one for one in SAID if one[0] is Route.REJECT]
        observed = [replace(one, mode=Mode.OBSERVE) for one in AUDITS]
        report = self.settle(rejects, observed)
        assert report.closed
        assert report.pass_ == 5
        assert self.settle(SAID, observed).unexpected == 2

    def test_a_run_in_which_the_gate_began_to_act_closes(self):
        """The mode was taken from the settings for the whole run, and a run that changed it never closed."""
        before_and_after = [AUDITS[0], replace(AUDITS[1], mode=Mode.OBSERVE)]
        assert self.settle(SAID, before_and_after).closed

    def test_an_audit_beyond_what_was_committed_is_unexpected(self):
        assert self.settle(SAID, [*AUDITS, audit(6, 9, pass_=3)]).unexpected == 1

    def test_a_claim_that_retention_cut_counts_as_covered(self):
        rows = held(ROWS, start=1)
        assert account(rows, trails(SAID), audits=AUDITS).closed


def test_random_faults_never_close(request):
    """Several faults at once, in larger runs than hypothesis draws."""
    rng = random.Random(request.node.name)
    rows = {offset: rng.choice((0, 1, 1, 3)) for offset in rng.sample(range(900), 300)}
    said: list[Said] = []
    for offset in sorted(rows):
        if rows[offset] == 0:
            said.append((Route.REJECT, offset, WHOLE))
        said.extend((rng.choice(ROUTES), offset, row) for row in range(rows[offset]))
    assert account(held(rows), trails(said)).closed
    lost, doubled = set(rng.sample(range(len(said)), 20)), rng.sample(range(len(said)), 20)
    kept = [one for at, one in enumerate(said) if at not in lost]
    report = account(held(rows), trails(kept + [said[at] for at in doubled]))
    restored = len(lost & set(doubled))
    assert report.missing == 20 - restored
    assert report.repeated == 20 - restored
