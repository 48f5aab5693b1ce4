from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import grpc
import pyarrow as pa
import pytest

from pipeline import link, runner
from pipeline.execution import Execution, Outcome
from pipeline.records import Claim, Mode, TopicPartition
from pipeline.runner import ITEM, Items, Stage
from pipeline.settings import Settings
from tests.fakes import stand_in_bundle

CLAIMS = [Claim(TopicPartition("in", 0), n, n + 1, 1, Mode.ENFORCE) for n in range(3)]


def items(tables: object) -> list[object]:
    return [runner._item(table) for table in tables]


def test_the_source_is_one_task_on_the_driver_s_node_that_yields_a_block_per_claim() -> None:
    with link.Link() as opened:
        source = Items(partial(runner._claims, opened.address))
        assert not source.supports_distributed_reads, "the link's socket is on the driver's node"
        assert source.estimate_inmemory_data_size() is None
        (task,) = source.get_read_tasks(8)
        opened.hand(CLAIMS)
        opened.end()
        blocks = list(task())
    assert [block.num_rows for block in blocks] == [1] * 4
    assert items(blocks) == [link.Warm(), *CLAIMS]


def test_a_stage_hands_on_each_item_as_it_comes() -> None:
    def build():
        return lambda item: (item + n for n in range(3))

    stage = Stage(build)
    assert items(stage(runner._row(10))) == [10, 11, 12]
    assert items(stage(runner._row(20))) == [20, 21, 22]


def test_what_crosses_is_one_row_of_bytes() -> None:
    table = runner._row(CLAIMS[0])
    assert table.schema == pa.schema([(ITEM, pa.large_binary())])
    assert items([table]) == CLAIMS[:1]


def how_it_ends(execution: Execution) -> Outcome | None:
    """Its outcome, once it has one, and None where it has none for five minutes."""
    deadline = time.monotonic() + 300
    while execution.outcome() is None and time.monotonic() < deadline:
        execution.take(0.5)
    return execution.outcome()


@pytest.mark.slow
def test_a_runner_that_finds_no_cluster_says_so_by_its_end(tmp_path: Path) -> None:
    """What answers is a server without Ray's services: it says no at once, where nobody takes Ray 41 s."""
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("0.0.0.0:0")  # Ray asks at the machine's own address
    server.start()
    execution = Execution(1, Settings(bundle=str(tmp_path), ray={"address": f"127.0.0.1:{port}"}))
    try:
        assert how_it_ends(execution) is Outcome.NO_CLUSTER
    finally:
        execution.close()
        server.stop(None).wait()


@pytest.mark.ray
@pytest.mark.slow
def test_on_a_real_engine_claims_come_back_and_the_end_is_clean(ray_address: str, tmp_path: Path) -> None:
    """The broker is away, so each claim comes back unread: through source, Prepare and Score all the same."""
    settings = Settings(
        bundle=str(stand_in_bundle(tmp_path).path),
        kafka={"bootstrap_servers": "127.0.0.1:1", "bootstrap_timeout_ms": 200},
        pool={"preparer": "tests.fakes:ArithmeticPreparer", "scorer": "tests.fakes:ArithmeticScorer"},
        ray={"address": ray_address},
    )
    execution = Execution(1, settings)
    try:
        execution.hand(CLAIMS)
        execution.end()
        frames: list[link.Frame] = []
        deadline = time.monotonic() + 300
        while execution.outcome() is None and time.monotonic() < deadline:
            frames += execution.take(0.5)
        assert execution.outcome() is Outcome.FINISHED
    finally:
        execution.close()
    assert link.Warm() in frames
    unread = [frame.claim for frame in frames if isinstance(frame, link.Unread)]
    assert sorted(unread, key=lambda claim: claim.start) == CLAIMS


@pytest.mark.slow
def test_an_execution_that_ends_well_leaves_nothing_of_ray_s_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each execution on this machine left a folder of logs for ever: one whenever the pool was let go."""
    # Not under `tmp_path`: a socket's path may be no longer than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        settings = Settings(
            bundle=str(stand_in_bundle(tmp_path).path),
            pool={"preparer": "tests.fakes:ArithmeticPreparer", "scorer": "tests.fakes:ArithmeticScorer"},
        )
        execution = Execution(1, settings)
        try:
            execution.end()
            assert how_it_ends(execution) is Outcome.FINISHED
        finally:
            execution.close()
        assert list(Path(folder).rglob("session_*")) == [], "nor a link to what was taken away"
