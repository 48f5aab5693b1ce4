"""Bodies that arrive in pieces, late or too large, without a socket."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi import Request
from pydantic import BaseModel

from pipeline.serving.body import Bodies
from pipeline.serving.errors import Refusal
from pipeline.serving.settings import Requests
from pipeline.serving.shapes import CohereRequest, RerankRequest, ScoreRequest

BODY = b'{"candidates": [1, 2]}'


def request(
    *pieces: bytes,
    wait_s: float = 0.0,
    rest: asyncio.Event | None = None,
    cut_off: bool = False,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> Request:
    """A request whose pieces take a while each; the last of them waits until `rest` is set."""
    coming: list[dict[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": cut_off or at + 1 < len(pieces)}
        for at, piece in enumerate(pieces)
    ]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(wait_s)
        if rest is not None and len(coming) == 1:
            await rest.wait()
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def refusal(bodies: Bodies, asked: Request) -> Refusal:
    with pytest.raises(Refusal) as refused:
        asyncio.run(bodies.read(asked, ScoreRequest))
    return refused.value


def cut(body: bytes, size: int) -> Sequence[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


def test_a_body_in_pieces_is_read_whole() -> None:
    bodies = Bodies(Requests())
    assert asyncio.run(bodies.read(request(*cut(BODY, 3)), ScoreRequest)).candidates == [1, 2]


def test_a_body_that_is_too_large_is_refused_before_its_end() -> None:
    bodies = Bodies(Requests(max_bytes=1024))
    asked = request(*cut(b" " * 4000, 1000))
    assert refusal(bodies, asked).status == 413
    assert bodies._held_bytes == 0


def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    bodies = Bodies(Requests(deadline_s=0.05))
    assert refusal(bodies, request(BODY, wait_s=30)).status == 408


def test_a_caller_who_goes_in_the_middle_of_the_body_is_no_error_of_the_door() -> None:
    """It was counted as a 500, with a stack in the log."""
    bodies = Bodies(Requests())
    assert refusal(bodies, request(BODY[:9], cut_off=True)).status == 499
    assert bodies._held_bytes == 0


def test_a_compressed_body_is_refused_by_that_name() -> None:
    """It was said not to be UTF-8."""
    bodies = Bodies(Requests())
    assert refusal(bodies, request(BODY, headers=[(b"content-encoding", b"gzip")])).status == 415
    plain = request(BODY, headers=[(b"content-encoding", b"identity")])
    assert asyncio.run(bodies.read(plain, ScoreRequest)).candidates == [1, 2]


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        (RerankRequest, b'{"query": "q", "texts": [%s]}' % b",".join([b"1"] * 50_000)),
        (CohereRequest, b'{"query": "q", "documents": [%s]}' % b",".join([b"1"] * 50_000)),
        (
            CohereRequest,
            b'{"query": "q", "documents": ["1"], "rank_fields": [%s]}' % b",".join([b"1"] * 50_000),
        ),
        (ScoreRequest, b"{%s}" % b",".join(b'"k%d": 1' % n for n in range(50_000))),
    ],
)
def test_of_very_many_problems_the_first_is_told_and_the_others_take_no_room(
    shape: type[BaseModel], body: bytes
) -> None:
    """All were listed, in a kilobyte each: one body of 8 MiB took all the memory of the machine."""
    tracemalloc.start()
    try:
        with pytest.raises(Refusal) as refused:
            asyncio.run(Bodies(Requests()).read(request(body), shape))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.status == 422
    assert peak < 20 << 20


def test_of_a_name_that_there_is_not_the_beginning_is_told() -> None:
    """It came back in the answer whole, twice, however long it was."""
    said = refusal(Bodies(Requests()), request(b'{"%s": 1}' % (b"k" * 5000))).said
    assert said == f"{'k' * 100}: there is no such field"


def test_bodies_beyond_what_may_be_held_at_once_are_told_to_come_again() -> None:
    bodies = Bodies(Requests(max_bytes=1024, max_held_bytes=1024))

    async def work() -> None:
        rest = asyncio.Event()
        slow = asyncio.create_task(bodies.read(request(b" " * 1000, BODY, rest=rest), ScoreRequest))
        while not bodies._held_bytes:
            await asyncio.sleep(0.001)
        with pytest.raises(Refusal) as refused:
            await bodies.read(request(b" " * 100), ScoreRequest)
        assert (refused.value.status, refused.value.retry_after_s) == (429, 1)
        rest.set()
        assert (await slow).candidates == [1, 2]

    asyncio.run(work())
    assert bodies._held_bytes == 0
