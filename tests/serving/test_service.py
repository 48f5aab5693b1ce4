"""One request and its second tries, on judges that go wrong on purpose."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable

import pytest

from actors.bundle import Bundle
from pipeline.serving.answers import Pair
from pipeline.serving.asked import Asked, read_all
from pipeline.serving.errors import Refusal
from pipeline.serving.service import DRAINING, STARTING, Service
from tests.fakes import PoisonScorer
from tests.serving.local import service_on


def asked(*texts: object) -> Asked:
    return read_all([{"candidate_id": "c", "query": "q", "document": str(text)} for text in texts])


def refusal(service: Service, *texts: object) -> Refusal:
    with pytest.raises(Refusal) as refused:
        asyncio.run(service.answer(asked(*texts)))
    return refused.value


def beside_its_keeper(service: Service, work: Callable[[], Awaitable[None]]) -> None:
    async def both() -> None:
        keeping = asyncio.create_task(service.keep_ready())
        try:
            await asyncio.wait_for(work(), 60)
        finally:
            keeping.cancel()

    asyncio.run(both())


async def until(reached: Callable[[], object]) -> None:
    while not reached():
        await asyncio.sleep(0.01)


def test_a_request_whose_replica_was_lost_is_tried_once_more(bundle: Bundle) -> None:
    service = service_on(bundle, "the actor died", None)
    answer = asyncio.run(service.answer(asked(150)))
    assert [one.score for one in answer.outcomes if isinstance(one, Pair)] == [1.5]
    assert service.not_ready is None
    assert b"sluice_online_retries_total 1.0" in service.metrics.exposition()


def test_a_request_whose_replica_was_lost_twice_is_refused_and_no_other_waits_for_them(
    bundle: Bundle,
) -> None:
    service = service_on(bundle, "the actor died")
    first = refusal(service, 150)
    assert (first.status, first.retry_after_s) == (503, 1)
    assert service.not_ready == "no replica answers"
    assert refusal(service, 150).status == 503
    assert service._judges.n_calls == 2, "the second request asked nobody"


def test_a_broken_scorer_is_a_lost_replica(bundle: Bundle) -> None:
    service = service_on(bundle)
    assert refusal(service, PoisonScorer.BREAKS).status == 503
    assert service.not_ready == "no replica answers"


def test_what_another_bundle_scored_is_no_answer(bundle: Bundle) -> None:
    """A door took over what another of its name had left, and named its own bundle in that one's verdicts."""
    service = service_on(bundle)
    service.bundle = dataclasses.replace(bundle, digest="sha256:0")
    assert refusal(service, 150).status == 503
    assert service.not_ready == "no replica answers"


def test_it_is_ready_again_once_a_replica_answers(bundle: Bundle) -> None:
    service = service_on(bundle, "gone", "gone", "gone", None)

    async def work() -> None:
        with pytest.raises(Refusal):
            await service.answer(asked(150))
        await until(lambda: service.not_ready is None)
        assert len((await service.answer(asked(150))).outcomes) == 1

    beside_its_keeper(service, work)


def test_it_is_ready_once_pairs_that_fill_a_batch_were_scored_so_that_it_knows_the_rate(
    bundle: Bundle,
) -> None:
    service = service_on(bundle, pool={"budget_tokens": 512})
    service.not_ready = STARTING
    assert service._admission.tokens_per_s == 0

    async def work() -> None:
        await until(lambda: service.not_ready is None)

    beside_its_keeper(service, work)
    assert service._admission.tokens_per_s > 0
    assert b"sluice_online_verdicts_total{" not in service.metrics.exposition(), "they are no caller's"


def test_nothing_hangs_beyond_the_deadline_and_what_was_asked_is_given_up(bundle: Bundle) -> None:
    service = service_on(bundle, 30.0, requests={"deadline_s": 0.1})
    began = time.monotonic()
    refused = refusal(service, 150)
    assert (refused.status, refused.retry_after_s) == (504, 1)
    assert time.monotonic() - began < 25
    assert service._judges.n_given_up == 1
    assert service._admission.n_requests == 0


def test_replicas_that_hang_are_no_replicas_that_answer(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a replica that hung, every request waited for its deadline, and the door said that it was ready."""
    monkeypatch.setattr("pipeline.serving.service._SILENCE_S", 0.1)
    service = service_on(bundle, 30.0, requests={"deadline_s": 0.2})

    async def work() -> None:
        with pytest.raises(Refusal, match=r"no answer within 0\.2 s"):
            await service.answer(asked(150))
        assert service.not_ready == "no replica answers"
        with pytest.raises(Refusal, match="no replica answers"):
            await service.answer(asked(150))

    asyncio.run(work())
    service._judges._script = [None]
    beside_its_keeper(service, lambda: until(lambda: service.not_ready is None))


def test_a_request_that_takes_too_long_while_others_are_answered_is_no_sign_of_a_lost_replica(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.serving.service._SILENCE_S", 0.1)
    service = service_on(bundle, 30.0, None, requests={"deadline_s": 2.0})

    async def both() -> None:
        slow = asyncio.create_task(service.answer(asked(150)))
        await asyncio.sleep(0.05)
        service._admission._waiting = 0.0  # before anything was measured one at a time is let in
        await service.answer(asked(50))
        with pytest.raises(Refusal, match="no answer within"):
            await slow

    asyncio.run(both())
    assert service.not_ready is None


def test_the_second_try_has_no_deadline_of_its_own(bundle: Bundle) -> None:
    service = service_on(bundle, "gone", 30.0, requests={"deadline_s": 0.1})
    assert refusal(service, 150).status == 504


def test_beyond_what_may_wait_a_request_is_told_to_come_again(bundle: Bundle) -> None:
    service = service_on(bundle, 0.5, None)

    async def work() -> None:
        first = asyncio.create_task(service.answer(asked(*range(40))))
        await asyncio.sleep(0.05)
        with pytest.raises(Refusal) as refused:
            await service.answer(asked(150))
        assert refused.value.status == 429
        assert len((await first).outcomes) == 40
        await service.answer(asked(150))

    asyncio.run(work())


def test_what_was_accepted_is_answered_before_the_door_closes_and_nothing_more_is(bundle: Bundle) -> None:
    service = service_on(bundle, 0.3, None)

    async def work() -> None:
        accepted = asyncio.create_task(service.answer(asked(150)))
        await asyncio.sleep(0.05)
        draining = asyncio.create_task(service.drained())
        await asyncio.sleep(0.05)
        with pytest.raises(Refusal, match=DRAINING):
            await service.answer(asked(150))
        await draining
        assert accepted.done()
        await asyncio.sleep(0.5)
        assert service.not_ready == DRAINING, "nobody makes a closing door ready"

    beside_its_keeper(service, work)


def test_the_door_closes_without_what_takes_longer_than_its_grace(bundle: Bundle) -> None:
    service = service_on(bundle, 30.0, http={"shutdown_grace_s": 0.1})

    async def work() -> None:
        accepted = asyncio.create_task(service.answer(asked(150)))
        await asyncio.sleep(0.05)
        await asyncio.wait_for(service.drained(), 25)
        accepted.cancel()

    asyncio.run(work())


def test_the_time_of_an_answer_is_told_by_what_it_was_spent_on(bundle: Bundle) -> None:
    service = service_on(bundle, 0.2)
    began = time.monotonic()
    answer = asyncio.run(service.answer(asked(150)))
    took_s = time.monotonic() - began
    assert answer.wait_s >= 0.2
    assert answer.score_s > 0
    assert answer.prepare_s > 0
    assert answer.prepare_s + answer.wait_s + answer.score_s <= took_s


def test_it_answers_with_any_companions_as_alone(base_bundle: Bundle, one_thread: None) -> None:
    """The real model, in one process: forty requests at once, in batches that cut through them."""
    del one_thread
    from tests.serving.local import LocalJudge, settings_for

    pool = {"preparer": "actors.scorer:Preparer", "scorer": "actors.scorer:Scorer", "budget_tokens": 512}
    settings = settings_for(base_bundle, pool=pool, queue={"max_wait_s": 1000.0})
    service = Service(LocalJudge(settings, base_bundle), base_bundle, settings)
    service.not_ready = None
    texts = [f"red shoe {'very ' * (n % 13)}nice no. {n}" for n in range(60)]

    async def work() -> None:
        await service._proved()
        alone = [(await service.answer(asked(text))).outcomes[0] for text in texts]
        cuts = [texts[at : at + 1 + at % 5] for at in range(40)]
        together = await asyncio.gather(*(service.answer(asked(*cut)) for cut in cuts))
        for at, (cut, answer) in enumerate(zip(cuts, together, strict=True)):
            expected = alone[at : at + len(cut)]
            assert [one.action for one in answer.outcomes] == [one.action for one in expected]
            assert [one.score for one in answer.outcomes] == [one.score for one in expected]

    asyncio.run(work())
