"""Through all stages: each row ends once, and what was interrupted goes on to the same rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from actors.bundle import Bundle
from pipeline.bulk import run, write
from pipeline.errors import BackfillRefused, InvariantBroken
from tests.bulk.backfills import Backfill, catalogue, content, rejects, verdicts
from tests.fakes import ArithmeticScorer, PoisonScorer, stand_in_bundle

PRICES = [*range(0, 300, 5), None, "", PoisonScorer.RAISES, ArithmeticScorer.NOT_A_NUMBER, 123]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return stand_in_bundle(tmp_path_factory.mktemp("backfill"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return catalogue(tmp_path_factory.mktemp("source") / "items.parquet", PRICES)


@pytest.fixture(scope="module")
def whole(bundle: Bundle, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert Backfill(source, out, bundle).work() is not None
    return out


def test_a_verdict_is_the_stream_s_with_file_and_row(whole: Path, source: Path, bundle: Bundle) -> None:
    found = verdicts(whole)
    assert [row["source_row"] for row in found] == [*range(60), 64]
    last = found[-1] | {"pair_digest": None}
    assert last == {
        "candidate_id": "s64",
        "action": "review",
        "score": float(np.float32(1.23)),
        "relevance": pytest.approx(1 - 1 / (1 + np.exp(-1.23)), abs=1e-6),
        "prune_threshold": 2.0,
        "review_threshold": 1.0,
        "guarantee": "none",
        "bundle": bundle.digest,
        "source_file": str(source),
        "source_row": 64,
        "pair_digest": None,
    }
    assert {row["action"] for row in found} == {"prune", "review", "pass"}
    assert all((row["score"] >= 2) == (row["action"] == "prune") for row in found)


def test_a_reject_is_the_row_as_it_was_read_with_the_reason(whole: Path) -> None:
    found = rejects(whole)
    assert [(row["source_row"], row["reason"], row["stage"]) for row in found] == [
        (60, "empty_text", "DECODE"),
        (61, "empty_text", "COMPOSE"),
        (62, "scoring_failed", "SCORE"),
        (63, "score_not_finite", "SCORE"),
    ]
    assert found[0]["row"] == {"sku": "s60", "theme": "boots", "price": None}
    assert "the device gave up" in found[2]["detail"]


def test_the_manifest_adds_up(whole: Path, bundle: Bundle) -> None:
    told = json.loads((whole / run.MANIFEST).read_text())
    counts = told["counts"]
    assert (
        counts["rows"] == len(PRICES) == sum(counts[one] for one in ("prune", "review", "pass", "rejected"))
    )
    assert told["reasons"] == {"empty_text": 2, "score_not_finite": 1, "scoring_failed": 1}
    assert (told["bundle"], told["policy"]["guarantee"], told["policy"]["prune_threshold"]) == (
        bundle.digest,
        "none",
        2.0,
    )
    assert told["input"][0]["n_rows"] == len(PRICES)
    assert told["cost"]["per_million_rows"]["core_s"] > 0
    # Two are empty and one cannot be scored; a sound pair is scored again beside that one.
    n = len(PRICES) - 3 + 1
    assert told["effort"] == {"pairs": n, "repeats": 0, "tokens": n, "padded_tokens": n, "halvings": 0}


@pytest.mark.parametrize("n_parts", [0, 1, 4])
def test_what_was_interrupted_goes_on_to_the_same_bytes(
    whole: Path, source: Path, bundle: Bundle, tmp_path: Path, n_parts: int
) -> None:
    out = tmp_path / "out"
    assert Backfill(source, out, bundle).work(parts=n_parts) is None
    marks = {path.name: path.read_bytes() for path in out.glob("parts/*")}
    assert len(marks) >= n_parts
    again = Backfill(source, out, bundle)
    told = again.work(resume=True)
    assert told is not None
    assert content(out) == content(whole)
    assert len(again.scored_pairs) == told["parts"] - len(marks)
    assert all((out / "parts" / name).read_bytes() == mark for name, mark in marks.items())


def test_what_a_part_left_without_its_mark_is_removed(
    whole: Path, source: Path, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    Backfill(source, out, bundle).work(parts=3)
    (out / "parts" / "part-000001.json").unlink()
    stray = out / "verdicts" / "action=prune" / "part-000001.parquet"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"of an attempt that said prune")
    assert Backfill(source, out, bundle).work(resume=True) is not None
    assert content(out) == content(whole)


@pytest.mark.parametrize("mark", [b"", b"{", b"[]", b'{"number": 1}'])
def test_a_part_whose_mark_is_damaged_is_done_again(
    whole: Path, source: Path, bundle: Bundle, tmp_path: Path, mark: bytes
) -> None:
    """A machine that loses power may leave an empty file; it ended every `--resume`."""
    out = tmp_path / "out"
    Backfill(source, out, bundle).work(parts=3)
    (out / "parts" / "part-000001.json").write_bytes(mark)
    assert Backfill(source, out, bundle).work(resume=True) is not None
    assert content(out) == content(whole)


def test_json_lines_give_the_same_verdicts(whole: Path, bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    rows = [{"sku": f"s{i}", "theme": "boots", "price": price} for i, price in enumerate(PRICES)]
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    Backfill(path, tmp_path / "out", bundle).work()
    found = verdicts(tmp_path / "out")
    assert [one | {"source_file": None} for one in found] == [
        one | {"source_file": None} for one in verdicts(whole)
    ]
    assert rejects(tmp_path / "out")[1]["row"] == {"line": orjson.dumps(rows[61])}


def test_an_empty_input_is_a_finished_run(bundle: Bundle, tmp_path: Path) -> None:
    told = Backfill(catalogue(tmp_path / "none.parquet", []), tmp_path / "out", bundle).work()
    assert told is not None
    assert (told["counts"]["rows"], told["cost"]["per_million_rows"]["wall_s"]) == (0, None)


def test_only_new_and_changed_pairs_are_scored(whole: Path, bundle: Bundle, tmp_path: Path) -> None:
    prices = list(PRICES)
    prices[7], prices[12] = 299, 150  # one is new, one is what another row was
    path = catalogue(tmp_path / "items.parquet", prices)
    second = Backfill(path, tmp_path / "out", bundle, previous=whole)
    told = second.work()
    assert told is not None
    assert sum(second.scored_pairs) == 3, "the new one, and those that had no verdict before"
    assert told["counts"]["known"] == 60
    Backfill(path, tmp_path / "anew", bundle).work()
    assert content(tmp_path / "out") == content(tmp_path / "anew")
    third = Backfill(path, tmp_path / "third", bundle, previous=tmp_path / "out")
    third.work()
    assert sum(third.scored_pairs) == 2, "what was taken over is known, too"


def test_a_run_of_another_bundle_or_that_is_not_finished_lends_no_scores(
    whole: Path, source: Path, bundle: Bundle, tmp_path: Path
) -> None:
    other = stand_in_bundle(tmp_path / "other")
    manifest = json.loads((whole / run.MANIFEST).read_text())
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / run.MANIFEST).write_text(json.dumps(manifest | {"bundle": "sha256:0"}))
    assert other.digest == bundle.digest
    with pytest.raises(BackfillRefused, match="was scored with bundle sha256:0"):
        Backfill(source, tmp_path / "out", bundle, previous=tmp_path / "old")
    (tmp_path / "old" / run.MANIFEST).unlink()
    with pytest.raises(BackfillRefused, match="holds no finished run"):
        Backfill(source, tmp_path / "out", bundle, previous=tmp_path / "old")
    settings = manifest["settings"] | {"limits.max_chars": 7}
    (tmp_path / "old" / run.MANIFEST).write_text(json.dumps(manifest | {"settings": settings}))
    with pytest.raises(BackfillRefused, match=r"limits\.max_chars 7"):
        Backfill(source, tmp_path / "out", bundle, previous=tmp_path / "old")


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]"])
def test_a_folder_whose_files_are_damaged_is_refused(
    source: Path, bundle: Bundle, tmp_path: Path, damaged: bytes
) -> None:
    out = tmp_path / "out"
    Backfill(source, out, bundle).work(parts=1)
    for name, says in ((run.MANIFEST, "remove it"), (run.RUN, "name another folder")):
        (out / name).write_bytes(damaged)
        with pytest.raises(BackfillRefused, match=f"its {name} is damaged; {says}"):
            Backfill(source, out, bundle).work(resume=name == run.RUN)


@pytest.mark.parametrize("foreign", [b'{"input": "s3://a"}', b'{"schema": 9, "input": [{"path": "a"}]}'])
def test_a_folder_of_another_program_is_refused(
    source: Path, bundle: Bundle, tmp_path: Path, foreign: bytes
) -> None:
    """Its `run.json` was compared field by field, and ended the command with a TypeError or a KeyError."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / run.RUN).write_bytes(foreign)
    with pytest.raises(BackfillRefused, match=r"run\.json that is not of such a run; name an empty folder"):
        Backfill(source, tmp_path / "out", bundle).work(resume=True)


def test_a_folder_that_may_not_be_read_is_refused_and_not_to_be_tried_again(
    source: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had the exit code of a store that does not answer now, with which a job is started again."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    one = Backfill(source, tmp_path / "out", bundle)
    monkeypatch.setattr(LocalFileSystem, "cat_file", refuse)
    with pytest.raises(BackfillRefused, match=r"out: may not be read: .*Permission denied"):
        one.work()


def test_a_run_that_is_damaged_lends_no_scores(source: Path, bundle: Bundle, tmp_path: Path) -> None:
    """Damage within a page of Parquet ended the command with an OSError."""
    first = tmp_path / "first"
    Backfill(source, first, bundle).work()
    review = min(first.glob("verdicts/action=review/*"))
    sound = review.read_bytes()
    at = pq.read_metadata(review).row_group(0).column(1).data_page_offset  # of the scores
    review.write_bytes(sound[:at] + bytes(20) + sound[at + 20 :])
    with pytest.raises(BackfillRefused, match=r"its verdicts/action=review/.* is damaged"):
        Backfill(source, tmp_path / "out", bundle, previous=first)
    review.write_bytes(sound)
    for name in ("verdicts/action=pass/part-000000.parquet", run.MANIFEST):
        (first / name).write_bytes(b"PAR1")
        with pytest.raises(BackfillRefused, match=f"its {name} is damaged"):
            Backfill(source, tmp_path / "out", bundle, previous=first)


def test_a_folder_that_holds_something_is_refused_and_left_as_it_is(
    whole: Path, source: Path, bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(BackfillRefused, match="holds this very run: it is finished"):
        Backfill(source, whole, bundle).work()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    for resume in (False, True):
        with pytest.raises(BackfillRefused, match=r"holds letter\.txt and no run"):
            Backfill(source, tmp_path / "mine", bundle).work(resume=resume)
    out = tmp_path / "out"
    Backfill(source, out, bundle).work(parts=1)
    with pytest.raises(BackfillRefused, match="go on with --resume"):
        Backfill(source, out, bundle).work()


def test_a_run_goes_on_only_as_it_was_begun(source: Path, bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    Backfill(source, out, bundle).work(parts=1)
    changed = Backfill(source, out, bundle)
    changed.identity |= {
        "bundle": "sha256:1",
        "settings": {**changed.identity["settings"], "backfill.part_rows": 7},
    }
    with pytest.raises(BackfillRefused, match=r"bundle was sha256:.*part_rows was 10, not 7"):
        changed.work(resume=True)
    for prices, says in ((PRICES[1:], "was changed"), (None, "is gone")):
        path = tmp_path / "items.parquet"
        here = Backfill(catalogue(path, PRICES), tmp_path / f"out-{says}", bundle)
        here.work(parts=1)
        if prices is None:
            path = path.rename(tmp_path / "other.parquet")
        else:
            catalogue(path, prices)
        with pytest.raises(BackfillRefused, match=f"the input file .*parquet (is new|{says})"):
            Backfill(path, tmp_path / f"out-{says}", bundle).work(resume=True)


def test_a_run_whose_counts_do_not_add_up_is_no_run(source: Path, bundle: Bundle, tmp_path: Path) -> None:
    one = Backfill(source, tmp_path / "out", bundle)
    one.work(parts=3)
    done = write.marks(one.store)
    with pytest.raises(InvariantBroken, match="came of 65 rows"):
        run.manifest(
            one.identity, one.found, done, run.Session(1, 0, 0), bundle=bundle, settings=one.settings
        )
