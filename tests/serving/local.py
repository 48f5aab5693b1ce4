"""The door's stages in one process, without an engine, and judges that go wrong on purpose."""

from __future__ import annotations

import asyncio
import time

from actors.bundle import Bundle
from actors.scorer import Scores
from actors.tokens import Tokens
from pipeline.records import Candidates
from pipeline.serving.service import Service
from pipeline.serving.settings import ServeSettings
from pipeline.serving.stages import Preparing, Scoring
from pipeline.serving.values import Judged, Unavailable
from tests.fakes import ArithmeticScorer

ARITHMETIC = {"preparer": "tests.fakes:ArithmeticPreparer", "scorer": "tests.fakes:PoisonScorer"}


def settings_for(bundle: Bundle, **sections: dict[str, object]) -> ServeSettings:
    """Settings with the arithmetic scorer, unless a test names the real one."""
    pool = ARITHMETIC | sections.pop("pool", {})
    return ServeSettings(bundle=str(bundle.path), pool=pool, **sections)


class SleepingScorer(ArithmeticScorer):
    """Takes as long as a device that does `PAIRS_PER_S`, and no processor.

    What it did is kept on the class, as the door makes the scorer: the time of a machine that stands still now and
    then says little, and the pairs that were scored meanwhile do.
    """

    PAIRS_PER_S = 200.0
    n_scored = 0
    busy_s = 0.0

    def score(self, tokens: Tokens) -> Scores:
        began = time.monotonic()
        time.sleep(len(tokens) / self.PAIRS_PER_S)
        scores = super().score(tokens)
        SleepingScorer.n_scored += len(tokens)
        SleepingScorer.busy_s += time.monotonic() - began
        return scores


class LocalJudge:
    """Prepares and scores here, as the replicas do."""

    def __init__(self, settings: ServeSettings, bundle: Bundle) -> None:
        self._scoring = Scoring(settings)
        self._preparing = Preparing.open(settings, score=self._scoring.score)

    async def judge(self, candidates: Candidates) -> Judged | Unavailable:
        return await self._preparing.judge(candidates)


class ScriptedJudge:
    """Does for each call what a test says; the last of it for all that follow.

    A number waits so many seconds, a text is `Unavailable`, and None asks the judge behind it.
    """

    def __init__(self, behind: LocalJudge, *script: float | str | None) -> None:
        self._behind = behind
        self._script = list(script)
        self.n_calls = 0
        self.n_given_up = 0

    async def judge(self, candidates: Candidates) -> Judged | Unavailable:
        self.n_calls += 1
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(step, str):
            return Unavailable(step)
        if step is not None:
            try:
                await asyncio.sleep(step)
            except asyncio.CancelledError:
                self.n_given_up += 1
                raise
        return await self._behind.judge(candidates)


def service_on(bundle: Bundle, *script: float | str | None, **sections: dict[str, object]) -> Service:
    """A service that is ready; with a script, on a judge that follows it."""
    settings = settings_for(bundle, **sections)
    local = LocalJudge(settings, bundle)
    service = Service(ScriptedJudge(local, *script) if script else local, bundle, settings)
    service.not_ready = None
    return service
