from __future__ import annotations

import pickle
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from pipeline import link, prepare
from pipeline.codec import Limits, unpack_work
from pipeline.codec.arrow_stream import write_stream
from pipeline.errors import BrokerRefused, BundleRefused, SettingsError, TransientError, Undecodable
from pipeline.prepare import MAX_RECORDS, Prepare, Prepared, load_class
from pipeline.records import Claim, Mode, Reason, Record, Stage, TopicPartition
from pipeline.settings import Settings
from pipeline.trial import Died
from tests.fakes import ArithmeticPreparer, ListReader, PoisonPreparer, ScriptedTrial

SOURCE = TopicPartition("in", 3)
LIMITS = Limits(max_chars=20, max_message_bytes=40_000, max_reject_bytes=2_000)


def message(offset: int, text: str = "50") -> Record:
    value = orjson.dumps({"candidate_id": f"c-{offset}", "query": "q", "document": text})
    return Record(offset, 1_700_000_000_000 + offset, b"key", value)


def claim(start: int, end: int, **facts: object) -> Claim:
    return Claim(SOURCE, start, end, 1, Mode.ENFORCE, **facts)


def stage(
    reader: ListReader, *, trial: ScriptedTrial | None = None, max_bytes: int = 1 << 20, **how: object
) -> Prepare:
    trial = trial or ScriptedTrial()
    return Prepare(reader, ArithmeticPreparer(max_chars=20), LIMITS, trial=trial, max_bytes=max_bytes, **how)


def pieces(of: Prepare, item: Claim) -> list[tuple[int, int]]:
    prepared = list(of(item))
    assert all(isinstance(piece, Prepared) for piece in prepared)
    return [(piece.claim.start, piece.claim.end) for piece in prepared]


def test_a_claim_becomes_one_piece_with_its_records_and_tokens() -> None:
    records = [message(offset, str(offset)) for offset in (4, 5, 7)]
    (piece,) = stage(ListReader(records))(claim(4, 9))
    work = unpack_work(piece.work)
    assert (piece.claim, piece.lost) == (claim(4, 9), 0)
    assert work.records == records
    assert work.origins.candidate_id.to_pylist() == ["c-4", "c-5", "c-7"]
    assert work.columns.column("token_ids").to_pylist() == [[4], [5], [7]]
    assert piece.oldest_ms == 1_700_000_000_004
    assert piece.n_bytes == sum(len(one.value or b"") + len(one.key or b"") for one in records)


def test_a_claim_over_the_cap_comes_in_pieces_and_the_same_ones_each_time() -> None:
    prepared = stage(ListReader([message(offset) for offset in range(10)]), max_bytes=150)
    first = pieces(prepared, claim(0, 12))
    assert first == pieces(prepared, claim(0, 12))
    assert len(first) > 1
    assert first[0][0] == 0
    assert first[-1][1] == 12
    assert [end for _, end in first[:-1]] == [start for start, _ in first[1:]]


def test_no_piece_holds_more_records_than_the_cap() -> None:
    value = message(0).value
    records = [Record(offset, 0, None, value) for offset in range(MAX_RECORDS + 1)]
    assert pieces(stage(ListReader(records), max_bytes=1 << 30), claim(0, MAX_RECORDS + 1)) == [
        (0, MAX_RECORDS),
        (MAX_RECORDS, MAX_RECORDS + 1),
    ]


def batch(offset: int, n: int, *, bad: int | None = None) -> Record:
    ids = [None if row == bad else f"c-{offset}-{row}" for row in range(n)]
    value = write_stream(
        pa.RecordBatch.from_pydict({"candidate_id": ids, "query": ["q"] * n, "document": [str(offset)] * n})
    )
    return Record(offset, 0, None, value, [("content-type", b"application/vnd.apache.arrow.stream")])


@pytest.mark.parametrize(
    ("sizes", "ends"),
    [
        ([4, 4, 2, 3], [3, 4]),
        ([4, 4, 2], [3]),
        ([4, 4, 3], [2, 3]),
        ([4, 12, 4], [1, 2, 3]),
        ([12], [1]),
        ([12, 12], [1, 2]),
        ([10], [1]),
        ([0, 12, 0, 0], [1, 2, 4]),
        ([0, 0, 6, 6], [3, 4]),
    ],
)
def test_a_piece_ends_before_the_message_that_brings_too_many_candidates(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int], ends: list[int]
) -> None:
    """The first claims of a topic of large batch messages were given to a replica in one piece, which took it
    longer than an execution may be silent: it was killed, and the claims were suspects."""
    monkeypatch.setattr(prepare, "MAX_CANDIDATES", 10)
    records = [batch(at, n) if n else Record(at, 0, None, b"") for at, n in enumerate(sizes)]
    prepared = list(stage(ListReader(records))(claim(0, len(sizes))))
    assert [piece.claim.end for piece in prepared] == ends
    assert [piece.claim.start for piece in prepared] == [0, *ends[:-1]]
    works = [unpack_work(piece.work) for piece in prepared]
    assert [record.offset for work in works for record in work.records] == list(range(len(sizes)))
    found = [name for work in works for name in work.origins.candidate_id.to_pylist()]
    assert found == [f"c-{at}-{row}" for at, n in enumerate(sizes) for row in range(n)]
    for work in works:
        offsets = [work.records[at].offset for at in work.origins.record]
        assert work.columns.column("token_ids").to_pylist() == [[offset] for offset in offsets]
        assert [work.records[one.record].value for one in work.rejected] == [
            record.value for record in work.records if not record.value
        ]
    assert sum(piece.n_bytes for piece in prepared) == sum(len(record.value or b"") for record in records)


def test_a_bad_row_stays_with_its_message_when_a_claim_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "MAX_CANDIDATES", 10)
    records = [batch(5, 8), batch(8, 8, bad=3)]
    first, second = stage(ListReader(records))(claim(4, 12))
    assert (first.claim, second.claim) == (claim(4, 8), claim(8, 12))
    assert unpack_work(first.work).rejected == []
    (rejected,) = unpack_work(second.work).rejected
    assert (rejected.record, rejected.row, rejected.reason) == (0, 3, Reason.EMPTY_ID)


def test_what_cannot_be_decoded_or_composed_is_a_value() -> None:
    records = [Record(0, 0, None, b"not json"), message(1, ""), message(2, "9" * 21), message(3)]
    (piece,) = stage(ListReader(records))(claim(0, 4))
    work = unpack_work(piece.work)
    assert [(one.record, one.reason, one.stage) for one in work.rejected] == [
        (0, Reason.NOT_JSON, Stage.DECODE),
        (1, Reason.EMPTY_TEXT, Stage.COMPOSE),
        (2, Reason.TEXT_TOO_LONG, Stage.COMPOSE),
    ]
    assert work.origins.record.tolist() == [3]


def test_offsets_that_are_gone_are_counted_and_the_rest_is_read() -> None:
    reader = ListReader([message(offset) for offset in range(6, 10)], earliest=6)
    prepared = list(stage(reader)(claim(2, 10)))
    assert [(one.claim.start, one.claim.end, one.lost) for one in prepared] == [(2, 6, 4), (6, 10, 0)]
    (gone,) = stage(reader)(claim(0, 5))
    assert (gone.claim.end, gone.lost, gone.oldest_ms) == (5, 5, None)


def test_broker_trouble_gives_the_claim_back_unread() -> None:
    reader = ListReader([], fails=TransientError("reading", "the broker is away"))
    (unread,) = stage(reader)(claim(0, 5))
    assert isinstance(unread, link.Unread)
    assert unread.claim == claim(0, 5)
    assert "the broker is away" in unread.because


def test_trouble_in_the_middle_gives_back_the_rest_alone() -> None:
    reader = ListReader([message(offset) for offset in range(10)])
    came = []
    for item in stage(reader, max_bytes=150)(claim(0, 10)):
        came.append(item)
        reader.fails = TransientError("reading", "the broker is away")
    first, rest = came
    assert rest.claim == claim(first.claim.end, 10)


@pytest.mark.parametrize("fatal", [BrokerRefused("reading", "no"), Undecodable("in", 3, 0, "a bad checksum")])
def test_what_the_gate_must_not_go_past_is_said_and_crosses_processes(fatal: Exception) -> None:
    (halted,) = stage(ListReader([], fails=fatal))(claim(0, 5))
    assert isinstance(halted, link.Halted)
    again = pickle.loads(pickle.dumps(halted))
    assert (again.claim, str(again.error)) == (claim(0, 5), str(fatal))


def test_offsets_that_cannot_be_decoded_are_rejected_one_by_one_where_the_settings_say_so() -> None:
    reader = ListReader([message(0), message(1), message(4)], undecodable=[2, 3])
    prepared = list(stage(reader, reject_undecodable=True)(claim(0, 5)))
    assert [(one.claim.start, one.claim.end) for one in prepared] == [(0, 2), (2, 3), (3, 4), (4, 5)]
    work = unpack_work(prepared[1].work)
    assert [(one.offset, one.value) for one in work.records] == [(2, None)]
    assert [one.reason for one in work.rejected] == [Reason.UNDECODABLE_BATCH]
    assert prepared[1].oldest_ms is None, "it has no time: the latency was counted from 1970"


def test_a_condemned_message_that_ends_the_process_it_is_tried_in_is_rejected_whole() -> None:
    """It was decoded again and again where it killed, until the gate gave up."""
    condemned = message(0, "no number at all")
    trial = ScriptedTrial(Died("signal 11"))
    (piece,) = stage(ListReader([condemned]), trial=trial)(claim(0, 1, attempt=3, condemned=True))
    work = unpack_work(piece.work)
    assert trial.items == [[condemned]]
    assert [(one.row, one.reason, one.stage) for one in work.rejected] == [
        (-1, Reason.PREPARING_FAILED, Stage.DECODE)
    ]
    assert "signal 11" in work.rejected[0].detail
    assert work.records == [condemned]
    assert len(work.origins.record) == work.columns.num_rows == 0


def test_a_condemned_message_that_does_not_is_prepared_like_any_other(tmp_path: Path) -> None:
    reader = ListReader([message(0, "70")])
    (usual,) = stage(reader)(claim(0, 1))
    built = real(tmp_path, reader)
    (piece,) = built(claim(0, 1, condemned=True))
    assert unpack_work(piece.work).records == [message(0, "70")]
    assert (piece.work, piece.n_bytes) == (usual.work, usual.n_bytes)


def test_a_condemned_offset_without_a_record_needs_no_trial() -> None:
    (piece,) = stage(ListReader([]))(claim(0, 1, condemned=True))
    assert unpack_work(piece.work).rejected == []


def test_what_kills_the_preparer_kills_a_process_of_its_own(tmp_path: Path) -> None:
    built = real(tmp_path, ListReader([message(0, PoisonPreparer.ABORTS), message(1)]))
    (poison,) = built(claim(0, 1, condemned=True))
    (rejected,) = unpack_work(poison.work).rejected
    assert rejected.reason is Reason.PREPARING_FAILED
    assert "signal 6" in rejected.detail
    (next_one,) = built(claim(1, 2))
    assert unpack_work(next_one.work).columns.num_rows == 1


def real(tmp_path: Path, reader: ListReader) -> Prepare:
    """As the settings describe it, but that it reads from a list."""
    settings = Settings(bundle=str(tmp_path), pool={"preparer": "tests.fakes:PoisonPreparer"})
    built = prepare.build(settings)
    built._reader = reader
    return built


def test_the_first_round_trip_is_passed_on() -> None:
    assert list(stage(ListReader([]))(link.Warm())) == [link.Warm()]


def test_it_is_built_as_the_settings_say() -> None:
    pool = {"preparer": "tests.fakes:ArithmeticPreparer"}
    built = prepare.build(Settings(bundle="b", pool=pool, kafka={"bootstrap_servers": "127.0.0.1:1"}))
    assert isinstance(built, Prepare)


def test_a_bundle_that_must_not_be_used_is_refused(tmp_path) -> None:
    with pytest.raises(BundleRefused, match=str(tmp_path)):
        prepare.build(Settings(bundle=str(tmp_path)))


@pytest.mark.parametrize("name", ["no.such:Class", "tests.fakes:NoSuch", "nonsense", ""])
def test_a_class_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="no class"):
        load_class(name)
