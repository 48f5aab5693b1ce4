"""What a run is: what must be the same for it to go on, and what is told of it when it is over.

`run.json` is the first file in an output folder and says what was begun; `manifest.json` is the last, and says
that all of it is done. Knows no engine.
"""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from actors.bundle import Bundle
from pipeline.bulk.files import Survey
from pipeline.bulk.store import Store
from pipeline.bulk.tenure import LOCK
from pipeline.bulk.write import Done
from pipeline.candidate_files import Columns
from pipeline.errors import BackfillRefused, InvariantBroken, TransientError
from pipeline.records import Effort
from pipeline.settings import Settings

RUN, MANIFEST = "run.json", "manifest.json"
SCHEMA = 1
_PACKAGES = ("sluice", "ray", "pyarrow", "torch", "transformers", "tokenizers")
_MILLION = 1_000_000
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Session:
    """What one call of `sluice backfill` had to do with a run."""

    wall_s: float
    """From the first part handed out to the last one done."""
    n_parts_before: int
    """Parts that were done when it began."""
    n_rows: int
    """Rows of the parts that it did."""


def identity(
    survey: Survey,
    bundle: Bundle,
    settings: Settings,
    columns: Columns,
    *,
    previous: str | None,
    topic: str | None,
) -> dict[str, Any]:
    """All that the rows of a run follow from, and where they go; JSON-able.

    Args:
        survey: The input.
        bundle: What scores.
        settings: Of the gate.
        columns: What makes a candidate.
        previous: Digest of the manifest of the run that scores are taken from.
        topic: Where verdicts are sent.

    Returns:
        What `run.json` holds.
    """
    return {
        "schema": SCHEMA,
        "bundle": bundle.digest,
        "columns": {name: list(names) for name, names in asdict(columns).items()},
        "settings": {
            **deciding(settings),
            "backfill.part_rows": settings.backfill.part_rows,
            "backfill.part_bytes": settings.backfill.part_bytes,
        },
        "previous": previous,
        "emit": topic,
        "input": [asdict(file) for file in survey.files],
    }


def deciding(settings: Settings) -> dict[str, Any]:
    """Those settings that a verdict follows from, beside the bundle."""
    pool = settings.pool
    return {
        "limits.max_chars": settings.limits.max_chars,
        "pool.preparer": pool.preparer,
        "pool.scorer": pool.scorer,
    }


def look(store: Store, run: Mapping[str, Any], *, resume: bool) -> bool:
    """Whether a folder holds this run. Changes nothing there.

    Args:
        store: The folder.
        run: See `identity`.
        resume: Whether it may go on with what is there.

    Returns:
        False for a folder that is empty, or that there is not.

    Raises:
        BackfillRefused: The folder holds this run, and it is not to go on; or another, or something else.
    """
    found = _read(store, RUN, next_step="name another folder")
    if found is None:
        others = [name for name in store.names() if name != LOCK]
        if others:
            problem = f"holds {others[0]} and no run of a backfill; name an empty folder or a new one"
            raise BackfillRefused(store.address, problem)
        return False
    if found.get("schema") != SCHEMA:  # then its fields may hold anything
        problem = f"holds a {RUN} that is not of such a run; name an empty folder or a new one"
        raise BackfillRefused(store.address, problem)
    differing = _differences(found, json.loads(_written(run)))
    if differing:
        raise BackfillRefused(
            store.address, f"holds another run: {'; '.join(differing)}; name another folder"
        )
    if not resume:
        ended = "go on with --resume" if finished(store) is None else "it is finished"
        raise BackfillRefused(store.address, f"holds this very run: {ended}, or name another folder")
    return True


def begin(store: Store, run: Mapping[str, Any]) -> None:
    """Say what was begun in a folder, before anything else is written there."""
    if store.get(RUN) is None:
        store.put(RUN, _written(run))


def finished(store: Store) -> dict[str, Any] | None:
    """The manifest of a run that is over; None where there is none. Raises BackfillRefused where it is damaged."""
    return _read(store, MANIFEST, next_step="remove it and finish that run with --resume")


def manifest(
    run: Mapping[str, Any],
    survey: Survey,
    parts: Sequence[Done],
    session: Session,
    *,
    bundle: Bundle,
    settings: Settings,
) -> dict[str, Any]:
    """What is told of a run that is over; JSON-able.

    Args:
        run: See `identity`.
        survey: The input.
        parts: All of them.
        session: What the last call did.
        bundle: What scored.
        settings: Of the gate.

    Returns:
        What `manifest.json` holds.

    Raises:
        InvariantBroken: The counts do not add up.
    """
    actions, reasons, effort = Counter[str](), Counter[str](), Counter[str]()
    for part in parts:
        actions.update(part.actions)
        reasons.update(part.reasons)
        effort.update(part.effort)
    n_verdicts, n_rejected = actions.total(), reasons.total()
    n_parts = sum(len(stretch.parts) for stretch in survey.stretches)
    if n_verdicts + n_rejected != survey.n_rows or {part.number for part in parts} != set(range(n_parts)):
        ended = f"{n_verdicts} verdicts and {n_rejected} rejects of {len(parts)} parts"
        raise InvariantBroken(f"{ended} came of {survey.n_rows} rows in {n_parts} parts")
    policy = bundle.manifest.policy
    return {
        **run,
        "counts": {
            "rows": survey.n_rows,
            **{action: actions[action] for action in ("prune", "review", "pass")},
            "rejected": n_rejected,
            "known": sum(part.n_known for part in parts),
            "emitted_messages": sum(part.n_emitted for part in parts),
        },
        "reasons": dict(sorted(reasons.items())),
        "effort": {name: effort[name] for name in Effort._fields},
        "parts": n_parts,
        "policy": {
            "name": bundle.manifest.name,
            "prune_threshold": policy.to_json()["prune"],
            "review_threshold": policy.to_json()["review"],
            "guarantee": str(policy.guarantee or "none"),
            "rests_on": policy.rests_on,
        },
        "cost": _cost(parts, session, settings, survey.n_rows),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def finish(store: Store, told: Mapping[str, Any]) -> None:
    """Write the manifest: from now on the run is over."""
    store.put(MANIFEST, _written(told))


def _cost(parts: Sequence[Done], session: Session, settings: Settings, n_rows: int) -> dict[str, Any]:
    core_s = sum(part.core_s for part in parts)
    gpu_s = settings.pool.gpus_per_replica * sum(part.replica_s for part in parts)
    prices = settings.backfill
    paid = (core_s * prices.core_hour_price + gpu_s * prices.gpu_hour_price) / _HOUR_S
    return {
        "core_s": round(core_s, 3),
        "gpu_s": round(gpu_s, 3),
        "paid": round(paid, 6),
        "per_million_rows": {
            "wall_s": _per_million(session.wall_s, session.n_rows),
            "core_s": _per_million(core_s, n_rows),
            "gpu_s": _per_million(gpu_s, n_rows),
            "paid": _per_million(paid, n_rows),
        },
        "core_hour_price": prices.core_hour_price,
        "gpu_hour_price": prices.gpu_hour_price,
        "last_session": asdict(session),
    }


def _per_million(amount: float, n_rows: int) -> float | None:
    return round(amount * _MILLION / n_rows, 3) if n_rows else None


def _differences(found: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    """What differs between two runs, for a person."""
    said = []
    for name in run:
        before, now = found.get(name), run[name]
        if before == now:
            continue
        if name == "input":
            said.append(_input_difference(before or [], now))
        elif isinstance(now, Mapping) and isinstance(before, Mapping):
            said += [
                f"{key} was {before.get(key)}, not {now[key]}" for key in now if before.get(key) != now[key]
            ]
        else:
            said.append(f"{name} was {before}, not {now}")
    return said


def _input_difference(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> str:
    old, new = ({file["file"]: file for file in files} for files in (before, now))
    for what, names in (("is new", new.keys() - old.keys()), ("is gone", old.keys() - new.keys())):
        if names:
            return f"the input file {min(names)} {what}"
    changed = min(name for name in new if old[name] != new[name])
    return f"the input file {changed} was changed"


def _read(store: Store, name: str, *, next_step: str) -> dict[str, Any] | None:
    try:
        content = store.get(name)
    except TransientError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        raise BackfillRefused(store.address, f"may not be read: {error.__cause__}") from error
    if content is None:
        return None
    with suppress(ValueError):
        told = json.loads(content)
        if isinstance(told, dict):
            return told
    raise BackfillRefused(store.address, f"its {name} is damaged; {next_step}")


def _written(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2, allow_nan=False).encode() + b"\n"
