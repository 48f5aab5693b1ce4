"""A backfill without an engine: its stages called one after the other, on a bundle that is arithmetic."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from actors.bundle import Bundle
from pipeline.bulk import prepare, run, score, write
from pipeline.bulk.files import Survey, survey
from pipeline.bulk.known import Known
from pipeline.bulk.parts import Ceilings, without
from pipeline.bulk.previous import read_previous
from pipeline.bulk.store import Store
from pipeline.candidate_files import Columns
from pipeline.records import Mode
from pipeline.score import verdict_context
from pipeline.settings import Settings

COLUMNS = Columns(("sku",), ("theme",), ("price",))


def settings_of(bundle: Bundle, **backfill: object) -> Settings:
    pool = {"preparer": "tests.fakes:ArithmeticPreparer", "scorer": "tests.fakes:PoisonScorer"}
    return Settings(bundle=str(bundle.path), pool=pool, backfill=backfill)


def catalogue(path: Path, prices: Sequence[object], row_group_size: int = 25) -> Path:
    """Rows whose price, in hundredths, is their score; a flat text, as the arithmetic wants it."""
    columns = {
        "sku": [f"s{i}" for i in range(len(prices))],
        "theme": ["boots"] * len(prices),
        "price": pa.array([None if price is None else str(price) for price in prices], pa.string()),
    }
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


class Backfill:
    """One run, which may be stopped after some of its parts."""

    def __init__(
        self,
        source: Path,
        out: Path,
        bundle: Bundle,
        *,
        previous: Path | None = None,
        part_rows: int = 10,
        apart: bool = False,
    ) -> None:
        self.apart = apart
        self.settings = settings_of(bundle, part_rows=part_rows)
        self.bundle = bundle
        self.store = Store(str(out))
        cut = self.settings.backfill
        self.found: Survey = survey(str(source), COLUMNS, Ceilings(cut.part_rows, cut.part_bytes))
        before = read_previous(None if previous is None else str(previous), bundle, self.settings)
        self.known: Known = before.known
        self.identity = run.identity(
            self.found, bundle, self.settings, COLUMNS, previous=before.digest, topic=None
        )
        self.scored_pairs: list[int] = []
        """Pairs that the scorer was given, call by call."""

    def work(self, *, parts: int = 1000, resume: bool = False) -> dict | None:
        """Do so many parts; the manifest, if those were all."""
        run.look(self.store, self.identity, resume=resume)
        run.begin(self.store, self.identity)
        done = write.marks(self.store)
        rest = without(self.found.stretches, frozenset(one.number for one in done))
        n_rest = sum(len(stretch.wanted) for stretch in rest)
        for at, one in enumerate(self._flow(rest)):
            if at == parts:
                return None
            done.append(one)
        session = run.Session(1.0, len(done) - n_rest, 0)
        told = run.manifest(
            self.identity, self.found, done, session, bundle=self.bundle, settings=self.settings
        )
        run.finish(self.store, told)
        return told

    def _flow(self, stretches: Iterable[object]):
        context = verdict_context(self.bundle, run=1, mode=Mode.ENFORCE)
        first = prepare.build(self.settings, COLUMNS, self.known, apart=self.apart)
        second = score.build(self.settings, context, apart=self.apart)
        third = write.build(self.settings, self.store.address, context, None)
        for stretch in stretches:
            for prepared in first(crossed(stretch)):
                self.scored_pairs.append(prepared.tokens.num_rows)
                for scored in second(crossed(prepared)):
                    yield from third(crossed(scored))


def crossed(item):
    """What comes out of the other process."""
    return pickle.loads(pickle.dumps(item, protocol=5))


def verdicts(out: Path) -> list[dict]:
    """All verdicts, in the source's order, with their action, as a reader of Parquet sees them."""
    partitioning = ds.partitioning(pa.schema([("action", pa.string())]), flavor="hive")
    rows = ds.dataset(out / "verdicts", partitioning=partitioning).to_table().to_pylist()
    return sorted(rows, key=lambda row: (row["source_file"], row["source_row"]))


def rejects(out: Path) -> list[dict]:
    """All rejects, in the source's order."""
    if not (out / "rejects").exists():
        return []
    rows = ds.dataset(out / "rejects").to_table().to_pylist()
    return sorted(rows, key=lambda row: (row["source_file"], row["source_row"]))


def content(out: Path) -> dict[str, bytes]:
    """Every file of rows, byte for byte."""
    files = [*out.glob("verdicts/*/*"), *out.glob("rejects/*")]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}
