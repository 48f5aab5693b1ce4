"""The backfill: a catalogue through Prepare and Score to a folder of verdicts, on Ray Data, bounded.

    stretches ─► Prepare (actors) ─► Score (actor pool, min..max) ─► Write (an actor) ─► what became of each part

Everything here is Ray, and the order of things; what a stage does is in `pipeline.bulk`. The process may be
killed at any moment: a part is done once its mark is set, and `resume` does the others.
"""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.data import ActorPoolStrategy, Dataset
from ray.exceptions import RayError, RayTaskError

from actors.errors import ActorError
from pipeline import ray_data
from pipeline.bulk import prepare, run, score, write
from pipeline.bulk.files import Survey, check_unchanged, survey
from pipeline.bulk.known import Known
from pipeline.bulk.parts import Ceilings, Stretch, first, without
from pipeline.bulk.previous import read_previous
from pipeline.bulk.store import Store
from pipeline.bulk.tenure import held
from pipeline.bulk.write import Done
from pipeline.bundles import open_bundle, pin
from pipeline.candidate_files import Columns
from pipeline.codec.verdict import VerdictContext
from pipeline.errors import BackfillEnded, BackfillRefused, SettingsError, SluiceError, TransientError
from pipeline.kafka import topics
from pipeline.prepare import load_class
from pipeline.records import Mode, Reason
from pipeline.runner import RETRY, Items, Stage, Work, rows, start_ray
from pipeline.score import verdict_context
from pipeline.settings import Settings

_SUSPECTS = 4
"""Parts for each replica that may have been handed out when one died for the second time; two are with it."""
_DEADLY = {Reason.PREPARING_FAILED.value, Reason.SCORING_FAILED.value}
"""Why rows are rejected that a replica may have died of."""
_ONE_BY_ONE: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow", **RETRY}

OnProgress = Callable[[int, int], None]
"""Told of rows that are done, and of all rows."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What may be asked of a backfill besides."""

    resume: bool = False
    """Go on with this very run, if the folder holds it."""
    previous: str | None = None
    """Address of a finished run of the same bundle; what it scored is not scored again."""
    topic: str | None = None
    """Send verdicts there, too."""


AS_IT_COMES = Wish()


@dataclass(frozen=True, slots=True)
class Job:
    """What a run does, as its stages need to know it."""

    settings: Settings
    columns: Columns
    folder: str
    """Address of the output folder."""
    context: VerdictContext
    """What all verdicts have in common."""
    topic: str | None
    """Where verdicts are sent besides."""


def flow(stretches: Sequence[Stretch], job: Job, known: ray.ObjectRef, *, apart: bool = False) -> Dataset:
    """The whole backfill, not yet started.

    Args:
        stretches: What there is to do.
        job: What the stages need to know.
        known: What need not be scored.
        apart: Tokenize and score in processes that may die, see `bulk.apart`.

    Returns:
        The flow; its rows are `Done`s.
    """
    pool = job.settings.pool
    source = ray.data.read_datasource(Items(partial(iter, stretches)), num_cpus=0, override_num_blocks=1)
    prepared = source.map_batches(
        Stage,
        fn_constructor_args=(partial(_built, partial(_prepare, job, known, apart=apart)),),
        compute=ActorPoolStrategy(size=pool.prepare_actors, max_tasks_in_flight_per_actor=1),
        num_cpus=pool.cpus_per_prepare,
        **_ONE_BY_ONE,
    )
    scored = prepared.map_batches(
        Stage,
        fn_constructor_args=(partial(_built, partial(score.build, job.settings, job.context, apart=apart)),),
        compute=ActorPoolStrategy(
            min_size=pool.min_replicas, max_size=pool.max_replicas, max_tasks_in_flight_per_actor=2
        ),
        num_cpus=pool.cpus_per_replica,
        num_gpus=pool.gpus_per_replica or None,
        **_ONE_BY_ONE,
    )
    return scored.map_batches(
        Stage,
        fn_constructor_args=(
            partial(_built, partial(write.build, job.settings, job.folder, job.context, job.topic)),
        ),
        compute=ActorPoolStrategy(size=1, max_tasks_in_flight_per_actor=2),
        num_cpus=0,  # it waits for the store more than it works
        **_ONE_BY_ONE,
    )


def backfill(
    source: str,
    folder: str,
    settings: Settings,
    columns: Columns,
    *,
    wish: Wish = AS_IT_COMES,
    on_progress: OnProgress = lambda done, total: None,
) -> dict[str, Any]:
    """Score all candidates of an input into a folder. Blocks; starts Ray, or joins the cluster of the settings.

    Args:
        source: Address of a file, a folder or a pattern.
        folder: Address of the output folder.
        settings: Of the gate.
        columns: What makes a candidate.
        wish: What else is asked for.
        on_progress: Called at the start and whenever a part is done.

    Returns:
        The manifest. The run is finished; if it was before, nothing was done.

    Raises:
        BackfillRefused: Nothing was begun: the input or a folder cannot be used.
        BackfillEnded: It ended early; what is done is kept.
        SluiceError: Bundle, settings, broker or store. In the middle of the work, what is done is kept.
    """
    store = _opened(source, folder)
    bundle = open_bundle(settings)
    _check(settings, wish.topic)
    ceilings = Ceilings(settings.backfill.part_rows, settings.backfill.part_bytes)
    found = survey(source, columns, ceilings)
    before = read_previous(wish.previous, bundle, settings)
    identity = run.identity(found, bundle, settings, columns, previous=before.digest, topic=wish.topic)
    run.look(store, identity, resume=wish.resume)
    with held(store):
        if run.look(store, identity, resume=wish.resume) and (told := run.finished(store)) is not None:
            return told
        run.begin(store, identity)
        done = write.marks(store)
        context = verdict_context(bundle, run=settings.gate.run, mode=Mode.ENFORCE)
        pinned = settings.model_copy(update={"bundle": pin(settings.bundle, bundle.digest)})
        job = Job(pinned, columns, store.address, context, wish.topic)
        session = _work(found, done, job, before.known, on_progress=on_progress)
        check_unchanged(found)
        told = run.manifest(identity, found, done, session, bundle=bundle, settings=settings)
        run.finish(store, told)
        return told


def _opened(source: str, folder: str) -> Store:
    store = Store(folder)
    if store.folder is not None and os.path.isfile(store.folder):  # of what it may not look at, false
        raise BackfillRefused(folder, "is a file; name a folder")
    if Store(_top(source)).holds(folder):
        raise BackfillRefused(
            folder, f"lies within the input {source}: its files would be read as candidates"
        )
    return store


def _top(source: str) -> str:
    """The folder in which all of an input lies, where it goes down into folders; it may be a pattern."""
    if "**" not in source:
        return source.rstrip("*")
    above = source.partition("**")[0]
    return above[: above.rfind("/") + 1] or "."


def _check(settings: Settings, topic: str | None) -> None:
    """What else is known at the start to fail."""
    for name in (settings.pool.preparer, settings.pool.scorer):
        load_class(name)
    if topic is not None and topics.partition_counts(settings.kafka, [topic])[topic] is None:
        raise SettingsError("emit", f"there is no topic {topic!r}; create it first", "--emit")


def _work(found: Survey, done: list[Done], job: Job, known: Known, *, on_progress: OnProgress) -> run.Session:
    """Do the parts that are not done yet, and append what became of each."""
    n_before, n_rows_before = len(done), sum(part.n_rows for part in done)
    rest = without(found.stretches, frozenset(part.number for part in done))
    n_rows, began = n_rows_before, time.monotonic()
    on_progress(n_rows, found.n_rows)
    if rest:
        with closing(_done(rest, job, known)) as parts:  # while the folder is still held
            for part in parts:
                done.append(part)
                n_rows += part.n_rows
                on_progress(n_rows, found.n_rows)
    return run.Session(time.monotonic() - began, n_before, n_rows - n_rows_before)


def _done(stretches: Sequence[Stretch], job: Job, known: Known) -> Generator[Done, None, None]:
    """Run the flow; each part as it is done. Ray ends with it, however it ends."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        start_ray(job.settings)
    except Exception as error:  # Ray has no narrower one for a node that is slow to start
        raise TransientError("starting Ray", " ".join(str(error).split())) from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C; ray.init had replaced it
    ray_data.adopt()
    try:
        yield from _whatever_dies(stretches, job, ray.put(known))
    except RayError as error:
        raise _ours(error, job.folder) from error
    finally:
        ray_data.settle()
        ray.shutdown()
        signal.signal(signal.SIGTERM, before)


def _whatever_dies(stretches: Sequence[Stretch], job: Job, known: ray.ObjectRef) -> Iterator[Done]:
    """Run the flow until all is done; what a replica may have died of, it does apart."""
    fewest = n_suspects = _SUSPECTS * job.settings.pool.max_replicas
    rest, apart = list(stretches), False
    while rest:
        done, found = set(), False
        chosen = first(rest, n_suspects) if apart else rest
        try:
            for item in rows(flow(chosen, job, known, apart=apart)):
                part: Done = pickle.loads(item)
                done.add(part.number)
                found = found or not _DEADLY.isdisjoint(part.reasons)
                yield part
        except RayError as error:
            if apart or isinstance(error, RayTaskError):  # then something was raised, and nobody died
                raise
            apart = True
        else:
            if not apart:
                return
            apart = False
            n_suspects = fewest if found else 2 * n_suspects  # Prepare may run far ahead of what is done
        rest = without(rest, frozenset(done))


def _ours(error: BaseException, folder: str) -> Exception:
    """What a stage raised, where it is an error of ours; otherwise one that tells of it."""
    for inner in _unwrapped(error):
        # What Ray raises is of our type, too, and tells of all its stacks.
        if isinstance(inner, SluiceError | ActorError) and not isinstance(inner, RayError):
            return inner
    # Its first line says what happened; what comes after are Ray's stacks, or its advice.
    reason = str(inner).strip().partition("\n")[0]
    return BackfillEnded(folder, f"{type(inner).__name__}: {reason}")


def _unwrapped(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it wraps, the innermost last: Ray wraps what is raised, and so does Ray Data."""
    while error is not None:
        yield error
        error = getattr(error, "cause", None) or error.__cause__


def _built(build: Callable[[], Work]) -> Work:
    """A stage, or what raises with its first item why there is none: of an actor not built, Ray says it died."""
    try:
        return build()
    except (SluiceError, ActorError) as error:
        return partial(_refuse, error)


def _refuse(error: Exception, _: object) -> Iterator[object]:
    raise error


def _prepare(job: Job, known: ray.ObjectRef, *, apart: bool) -> prepare.Prepare:
    return prepare.build(job.settings, job.columns, ray.get(known), apart=apart)
