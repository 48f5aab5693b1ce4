from __future__ import annotations

import os
import struct
import threading
import time
from multiprocessing import AuthenticationError

import pytest

from pipeline.errors import OffsetsLost
from pipeline.link import Address, Halted, Link, Role, Unread, Warm, claims
from pipeline.records import Claim, Mode, TopicPartition
from tests.threads import none_is_left_but

CLAIMS = [Claim(TopicPartition("in", 0), n, n + 1, 1, Mode.ENFORCE) for n in range(1000)]


def test_claims_arrive_in_order_even_those_handed_out_before_the_runner_connects() -> None:
    with Link() as link:
        link.hand(CLAIMS[:500])
        source = iter(claims(link.address))
        first = next(source)
        link.hand(CLAIMS[500:])
        link.end()
        assert [first, *source] == CLAIMS


def test_handing_out_does_not_wait_for_a_runner_that_does_not_read() -> None:
    """Otherwise a keeper and a runner that each wait for the other would stand still for ever."""
    with Link() as link, link.address.connect(Role.CLAIMS):
        began = time.monotonic()
        link.hand(CLAIMS * 20)
        assert time.monotonic() - began < 60


def test_what_comes_back_is_taken_in_order_and_then_the_end() -> None:
    frames = [
        Warm(),
        Unread(CLAIMS[0], "the broker is away"),
        Halted(CLAIMS[1], OffsetsLost("in", 0, 1, 9)),
    ]
    with Link() as link:
        assert link.take(0.01) == []
        with link.address.connect(Role.RESULTS) as results:
            for frame in frames:
                results.send(frame)
            taken: list[object] = []
            while len(taken) < len(frames):
                taken += link.take(1.0) or []
        assert [str(frame) for frame in taken] == [str(frame) for frame in frames]
        assert link.take(60.0) is None


def test_a_second_source_gets_no_claims() -> None:
    """A generator that Ray starts again would skip as many claims as the first one had given."""
    with Link() as link:
        first = iter(claims(link.address))
        link.hand(CLAIMS[:2])
        assert next(first) == CLAIMS[0]
        assert list(claims(link.address)) == []
        assert next(first) == CLAIMS[1]


def test_the_source_ends_when_the_keeper_is_gone() -> None:
    link = Link()
    link.hand(CLAIMS[:1])
    source = iter(claims(link.address))
    assert next(source) == CLAIMS[0]
    link.close()
    assert list(source) == []


def test_a_wrong_key_is_refused_and_the_link_goes_on() -> None:
    with Link() as link:
        with pytest.raises(AuthenticationError):
            Address(link.address.path, b"wrong").connect(Role.RESULTS)
        with link.address.connect(Role.RESULTS) as results:
            results.send(Warm())
            assert link.take(60.0) == [Warm()]


def test_closing_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    link = Link()
    link.close()
    link.close()
    assert none_is_left_but(before)


def test_a_runner_that_stands_still_in_the_middle_of_a_frame_holds_up_nobody() -> None:
    """`take` used to read from the socket itself, and waited for the rest of a frame for ever."""
    with Link() as link, link.address.connect(Role.RESULTS) as results:
        os.write(results.fileno(), struct.pack("!i", 100) + b"half of it")
        began = time.monotonic()
        assert link.take(0.1) == []
        assert time.monotonic() - began < 60


def test_the_end_is_awaited_until_it_is_taken() -> None:
    with Link() as link:
        assert not link.waiting
        with link.address.connect(Role.RESULTS) as results:
            results.send(Warm())
        assert taken(link) == [Warm()]
        assert not link.waiting


def taken(link: Link) -> list[object]:
    """All frames, to their end."""
    frames: list[object] = []
    while (more := link.take(1.0)) is not None:
        frames += more
    return frames


def test_closing_wakes_the_threads_of_a_runner_that_says_nothing() -> None:
    before = set(threading.enumerate())
    link = Link()
    with link.address.connect(Role.RESULTS), link.address.connect(Role.CLAIMS):
        link.take(0.1)
        link.close()
        assert none_is_left_but(before)


def test_a_frame_that_cannot_be_read_ends_the_link_and_the_runner_notices() -> None:
    with Link() as link, link.address.connect(Role.RESULTS) as results:
        results.send(Warm())
        results.send_bytes(b"no pickle")
        assert taken(link) == [Warm()]
        with pytest.raises(BrokenPipeError):
            results.send(Warm())
