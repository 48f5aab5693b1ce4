"""A real backfill on a real Ray: whole, interrupted, and taken over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.bundle import Bundle
from actors.policy import ActionCode
from actors.scorer import Preparer, Scorer
from pipeline import backfill as flow
from pipeline.bulk import run
from pipeline.bulk.store import Store
from pipeline.bulk.tenure import held
from pipeline.bulk.write import Done
from pipeline.errors import BackfillRefused
from pipeline.kafka import topics
from pipeline.kafka.embedded import EmbeddedKafka
from pipeline.kafka.reader import RangeReader
from tests.bulk.backfills import COLUMNS, Backfill, catalogue, content, rejects, settings_of, verdicts
from tests.fakes import GatedScorer, PoisonPreparer, PoisonScorer, stand_in_bundle

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[1]
ARITHMETIC = ("pool.preparer=tests.fakes:ArithmeticPreparer", "pool.scorer=tests.fakes:GatedScorer")
PRICES = [n * 7 % 300 for n in range(60)] + [GatedScorer.WAITS] + [n % 300 for n in range(139)]
"""Ten parts of 20 rows, the fourth of which waits at the gate."""
AS_MAPPED = ("--id", "sku", "--query", "theme", "--document", "price")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """With the gate of `GatedScorer` shut."""
    made = stand_in_bundle(tmp_path / "of-bundle")
    (made.path.parent / "shut").touch()
    return made


def open_gate(bundle: Bundle) -> None:
    (bundle.path.parent / "shut").unlink()


def start(ray_address: str, bundle: Bundle, arguments: Sequence[object], *sets: str) -> subprocess.Popen[str]:
    chosen = [f"bundle={bundle.path}", f"ray.address={ray_address}", *sets]
    words = [*map(str, arguments), *(word for one in chosen for word in ("--set", one))]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "backfill", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], exit_code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == exit_code, err
    return out, err


def until(condition, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_catalogue_gets_the_scores_that_the_scorer_gives(
    ray_address: str, base_bundle: Bundle, tmp_path: Path
) -> None:
    """Two files of several row groups, with the real preparer and the real model."""
    rows = [
        {"id": i, "theme": f"red shoes {i % 7}", "title": f"boot no. {i}", "brand": "Acme" if i % 2 else None}
        for i in range(60)
    ]
    rows[17]["title"] = None
    for at, half in enumerate((rows[:33], rows[33:])):
        pq.write_table(pa.Table.from_pylist(half), tmp_path / f"items-{at}.parquet", row_group_size=10)
    arguments = [tmp_path / "items-*.parquet", tmp_path / "out", "--id", "id", "--query", "theme"]
    arguments += ["--document", "title,brand", "--json"]
    out, _ = ended(start(ray_address, base_bundle, arguments, "backfill.part_rows=8"))
    told = json.loads(out)
    found = verdicts(tmp_path / "out")
    scored = [row for row in rows if row["title"] or row["brand"]]
    assert [row["candidate_id"] for row in found] == [str(row["id"]) for row in scored]
    fields = [{name: row[name] for name in ("title", "brand") if row[name]} for row in scored]
    prepared = Preparer(base_bundle.path, max_chars=20_000).prepare(
        [{"text": row["theme"]} for row in scored], fields
    )
    expected = Scorer(base_bundle.path, device="cpu", threads=1).score(prepared.tokens)
    assert [row["score"] for row in found] == pytest.approx(expected.logit.tolist(), abs=1e-5)
    assert [row["action"] for row in found] == [ActionCode(one).name.lower() for one in expected.action]
    assert told["counts"]["rows"] == len(rows) == len(found) + len(rejects(tmp_path / "out"))
    assert told == json.loads((tmp_path / "out" / "manifest.json").read_text())


def test_after_kill_9_only_what_is_not_done_is_done_and_the_rows_are_the_same(
    ray_address: str, bundle: Bundle, tmp_path: Path
) -> None:
    source = catalogue(tmp_path / "items.parquet", PRICES, row_group_size=20)
    call = [source, tmp_path / "out", *AS_MAPPED, "--resume"]
    sets = (*ARITHMETIC, "backfill.part_rows=20")
    first = start(ray_address, bundle, call, *sets)
    marks = tmp_path / "out" / "parts"
    until(lambda: len(list(marks.glob("*.json"))) == 3, first)

    # Meanwhile a second one is refused.
    _, err = ended(start(ray_address, bundle, call, *sets), exit_code=2)
    assert "another backfill is writing there" in err

    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=120)
    assert not (tmp_path / "out" / "manifest.json").exists()
    open_gate(bundle)
    out, _ = ended(start(ray_address, bundle, [*call, "--json"], *sets))
    told = json.loads(out)
    assert told["cost"]["last_session"]["n_parts_before"] == 3
    Backfill(source, tmp_path / "whole", bundle, part_rows=20).work()
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert told["counts"]["rows"] == len(PRICES) == len(verdicts(tmp_path / "out"))


def test_what_is_stopped_leaves_a_folder_that_can_go_on(
    ray_address: str, bundle: Bundle, tmp_path: Path
) -> None:
    source = catalogue(tmp_path / "items.parquet", PRICES, row_group_size=20)
    call = [source, tmp_path / "out", *AS_MAPPED]
    sets = (*ARITHMETIC, "backfill.part_rows=20")
    process = start(ray_address, bundle, call, *sets)
    until(lambda: len(list((tmp_path / "out" / "parts").glob("*.json"))) == 3, process)
    process.send_signal(signal.SIGTERM)  # Ctrl-C is the same, where a shell lets it through
    _, err = ended(process, exit_code=1)
    assert "interrupted; what is done is kept in" in err
    open_gate(bundle)
    ended(start(ray_address, bundle, [*call, "--resume"], *sets))
    assert len(verdicts(tmp_path / "out")) == len(PRICES)


def test_who_is_stopped_while_it_shows_progress_ends_ray_before_the_folder_is_let_go(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray went on writing there until the process ended."""
    said = []

    def parts(*_: object) -> Iterator[Done]:
        try:
            yield Done(0, 3, {}, {}, 0, 0.0, 0.0)
        finally:
            said.append((tmp_path / "out" / run.RUN).exists() and held_by_another(tmp_path / "out"))

    def stop(done: int, _: int) -> None:
        if done:
            raise KeyboardInterrupt

    monkeypatch.setattr(flow, "_done", parts)
    source = catalogue(tmp_path / "items.parquet", [1, 2, 3])
    with pytest.raises(KeyboardInterrupt):
        flow.backfill(str(source), str(tmp_path / "out"), settings_of(bundle), COLUMNS, on_progress=stop)
    assert said == [True]


def held_by_another(folder: Path) -> bool:
    try:
        with held(Store(str(folder))):
            return False
    except BackfillRefused:
        return True


def test_a_scorer_that_can_score_nothing_ends_it_in_one_line(
    ray_address: str, bundle: Bundle, tmp_path: Path
) -> None:
    source = catalogue(tmp_path / "items.parquet", [1_000_004] * 3)
    sets = (ARITHMETIC[0], "pool.scorer=tests.fakes:PoisonScorer")
    _, err = ended(start(ray_address, bundle, [source, tmp_path / "out", *AS_MAPPED], *sets), exit_code=70)
    assert "the device gave up" in err.splitlines()[-1]
    assert not (tmp_path / "out" / "rejects").exists(), "a broken scorer blames no row"


def test_a_replica_that_cannot_be_opened_ends_it_with_its_own_error(
    ray_address: str, bundle: Bundle, tmp_path: Path
) -> None:
    """It was said to have died, all was tried once more apart, and the exit code was that of a defect; and what a
    stage raised was shown with all of Ray's stacks."""
    source = catalogue(tmp_path / "items.parquet", [1, 2, 3])
    sets = (ARITHMETIC[0], "pool.scorer=tests.fakes:DevicelessScorer")
    _, err = ended(start(ray_address, bundle, [source, tmp_path / "out", *AS_MAPPED], *sets), exit_code=78)
    assert err.splitlines()[-1] == "sluice: no device 'cuda:7' here; there is: cpu; name another with bundle"


def test_a_row_that_ends_what_prepares_or_scores_it_is_rejected_alone(
    ray_address: str, bundle: Bundle, tmp_path: Path
) -> None:
    """One second death used to be the end, and `--resume` died of the same row."""
    prices = [0, 1, 2, PoisonScorer.IS_KILLED, 4, 5, PoisonPreparer.ABORTS, *range(7, 15)]
    source = catalogue(tmp_path / "items.parquet", prices, row_group_size=3)
    pool = ("pool.preparer=tests.fakes:PoisonPreparer", "pool.scorer=tests.fakes:PoisonScorer")
    call = [source, tmp_path / "out", *AS_MAPPED]
    ended(start(ray_address, bundle, call, *pool, "backfill.part_rows=3"))
    assert [(one["source_row"], one["reason"], one["stage"]) for one in rejects(tmp_path / "out")] == [
        (3, "scoring_failed", "SCORE"),
        (6, "preparing_failed", "COMPOSE"),
    ]
    assert len(verdicts(tmp_path / "out")) == 13


def test_a_folder_that_a_pattern_goes_down_into_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    """Its own verdicts were input from then on, so that no `--resume` could go on."""
    catalogue(tmp_path / "items.parquet", [1, 2, 3])
    pattern = str(tmp_path / "**" / "*.parquet")
    with pytest.raises(BackfillRefused, match="lies within the input"):
        flow.backfill(pattern, str(tmp_path / "out"), settings_of(bundle), COLUMNS)
    assert not (tmp_path / "out").exists()


def test_a_folder_beside_those_that_a_pattern_goes_down_into_is_not(tmp_path: Path) -> None:
    """`items-*/**` took all that lies beside `items-1` for its own."""
    pattern = str(tmp_path / "items-*" / "**" / "*.parquet")
    assert flow._opened(pattern, str(tmp_path / "out")).folder == tmp_path / "out"
    with pytest.raises(BackfillRefused, match="lies within the input"):
        flow._opened(pattern, str(tmp_path / "items-1" / "out"))


@pytest.mark.kafka
def test_verdicts_go_to_a_topic_too(
    ray_address: str, bundle: Bundle, kafka: EmbeddedKafka, topic: Callable[..., str], tmp_path: Path
) -> None:
    open_gate(bundle)
    source = catalogue(tmp_path / "items.parquet", PRICES)
    call = [source, tmp_path / "out", *AS_MAPPED, "--json", "--emit"]
    where = f"kafka.bootstrap_servers={kafka.bootstrap_servers}"
    _, err = ended(start(ray_address, bundle, [*call, "absent"], *ARITHMETIC, where), exit_code=78)
    assert "there is no topic 'absent'" in err
    name = topic()
    out, _ = ended(start(ray_address, bundle, [*call, name], *ARITHMETIC, where))
    assert json.loads(out)["counts"]["emitted_messages"] == len(PRICES)
    ((at, extent),) = topics.extents({"bootstrap_servers": kafka.bootstrap_servers}, name).items()
    with closing(RangeReader({"bootstrap_servers": kafka.bootstrap_servers})) as reader:
        records = reader.read(at, 0, extent.last_stable, max_records=999, max_bytes=1 << 30).records
    sent = {record.key.decode(): json.loads(record.value) for record in records}
    for row in verdicts(tmp_path / "out"):
        message = sent[row["candidate_id"]]
        assert (message["action"], message["score"]) == (row["action"], row["score"])
        assert (message["source_topic"], message["source_offset"]) == (str(source), row["source_row"])
