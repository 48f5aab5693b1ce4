"""The runner: a Ray driver that runs one execution of the flow, and holds no position.

    claims ─► Prepare (actors) ─► Score (actor pool, min..max) ─► what came back

The flow is one endless Ray Dataset. A row is one item, pickled: a `Claim` goes in, `Prepared` pieces of it
cross from Prepare to Score, frames of `pipeline.link` come out. Everything here is Ray; what a stage does is
in `prepare` and `score`, which Ray is given. The process may be killed at any moment: its keeper hands what it
held to the next. It exits 0 when the keeper ends the claims, 69 when no Ray cluster answers, and 1 when the
execution failed.
"""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, Datasource, ReadTask
from ray.data.block import BlockMetadata
from ray.exceptions import RayError

from pipeline import link, prepare, ray_data, score
from pipeline.process import die_with_parent
from pipeline.settings import Settings

ITEM = "item"

RETRY = {"max_restarts": -1, "max_task_retries": 1}
"""A lost replica is replaced, and its claim tried once more. With Ray's default, endless retries, a claim that
kills its replica would be retried for ever and nobody told; so the second death ends the execution."""

WATCH_EVERY_S = 5.0
"""How often a runner asks whether its node is still of its cluster."""

Work = Callable[[Any], Iterable[object]]
"""What a stage does with one item."""


class Items(Datasource):
    """A source of items: one read task, on the driver's node, that yields each as its own block.

    Args:
        give: Gives the items, in that task.
    """

    def __init__(self, give: Callable[[], Iterable[object]]) -> None:
        super().__init__()
        self._give = give

    @property
    def supports_distributed_reads(self) -> bool:
        """False keeps the task on the driver's node, where the link's socket is."""
        return False

    def estimate_inmemory_data_size(self) -> int | None:
        """Unknown: the source may never end."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """One task, whatever the parallelism."""
        unknown = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
        return [ReadTask(partial(_blocks, self._give), unknown)]


class Stage:
    """Ray's view of a stage: one row in, one or more rows out. Built once, inside its actor."""

    def __init__(self, build: Callable[[], Work]) -> None:
        self._work = build()
        # What was imported and loaded is never garbage. Reading is a third faster when it is not looked at
        # (300-byte messages, 2 cores: 101,000 messages per CPU second against 74,000).
        gc.freeze()

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Work on one item."""
        for item in self._work(_item(batch)):
            yield _row(item)


def flow(address: link.Address, settings: Settings) -> Dataset:
    """The whole execution, not yet started."""
    pool = settings.pool
    source = ray.data.read_datasource(Items(partial(_claims, address)), num_cpus=0, override_num_blocks=1)
    prepared = source.map_batches(
        Stage,
        fn_constructor_args=(partial(prepare.build, settings),),
        compute=ActorPoolStrategy(size=pool.prepare_actors, max_tasks_in_flight_per_actor=4),
        num_cpus=pool.cpus_per_prepare,
        batch_size=1,
        batch_format="pyarrow",
        **RETRY,
    )
    return prepared.map_batches(
        Stage,
        fn_constructor_args=(partial(score.build, settings),),
        compute=ActorPoolStrategy(
            min_size=pool.min_replicas,
            max_size=pool.max_replicas,
            max_tasks_in_flight_per_actor=2,  # `supervisor.MAX_AHEAD` counts on it
        ),
        num_cpus=pool.cpus_per_replica,
        num_gpus=pool.gpus_per_replica or None,
        batch_size=1,
        batch_format="pyarrow",
        **RETRY,
    )


def main() -> int:
    """Run the job that the keeper wrote to standard input, until the keeper ends the claims."""
    job: link.Job = pickle.load(sys.stdin.buffer)
    die_with_parent(job.parent)
    settings = Settings.model_validate_json(job.settings)
    own: Path | None = None
    with job.address.connect(link.Role.RESULTS) as results:
        if settings.ray.address is None:
            own = start_ray(settings)
        elif (unanswered := _join(settings)) is not None:
            print(f"execution {job.execution}: {unanswered}", file=sys.stderr)
            return link.NO_CLUSTER
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # ray.init had replaced it
        ray_data.adopt()
        try:
            with _cluster_watched(job.execution):
                for item in rows(flow(job.address, settings)):
                    results.send_bytes(item)
        except RayError as error:
            why = f"{type(error).__name__}: {_last_line(error)}"
            print(f"execution {job.execution}: {why}", file=sys.stderr)
            return 1
    ray.shutdown(wait_for_processes=own is not None)
    if own is not None:
        # Ray never takes it away. That of an execution that did not end well stays, to be looked at.
        shutil.rmtree(own, ignore_errors=True)
        with suppress(OSError):
            latest = own.with_name("session_latest")
            if not latest.exists():  # Ray replaces no link that points nowhere, whoever starts it here next
                latest.unlink()
    return 0


def rows(dataset: Dataset) -> Iterator[pa.Buffer]:
    """What comes out of the flow, item by item, as it comes."""
    batches = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    return (item.as_buffer() for batch in batches for item in batch.column(ITEM))


def start_ray(settings: Settings) -> Path | None:
    """Join the cluster that the settings name, or start Ray on this machine.

    Args:
        settings: Of the gate.

    Returns:
        The folder that Ray on this machine keeps its logs and sockets in; None of a cluster.
    """
    os.environ.setdefault(
        "RAY_USAGE_STATS_ENABLED", "0"
    )  # a gate calls nobody that its operator did not name
    cluster = settings.ray
    own: dict[str, Any] = {"num_cpus": cluster.num_cpus, "object_store_memory": cluster.object_store_mb << 20}
    context = ray.init(
        address=cluster.address or "local",  # with None it would join whatever cluster this machine runs
        namespace=cluster.namespace,
        include_dashboard=False,
        logging_level="warning",
        **({} if cluster.address else own),
    )
    return None if cluster.address else Path(context.address_info["session_dir"])


@contextmanager
def _cluster_watched(execution: int) -> Iterator[None]:
    """End this process once its node is of the cluster no more.

    A driver whose cluster was killed and started anew may wait for ever for what the old one owed it (seen once in
    three rounds, Ray 2.60). To ask is what helps: Ray itself ends a driver that asks a cluster other than its own.
    """
    node, over = ray.get_runtime_context().get_node_id(), threading.Event()

    def watch() -> None:
        while not over.wait(WATCH_EVERY_S):
            with suppress(RayError):  # the head is away; Ray gives up by itself
                alive = {one["NodeID"] for one in ray.nodes() if one["Alive"]}
                if alive and node not in alive:
                    print(f"execution {execution}: this node is of the Ray cluster no more", file=sys.stderr)
                    os.kill(os.getpid(), signal.SIGKILL)  # no claim is to blame: as if it had been killed

    thread = threading.Thread(target=watch, name="cluster", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(1.0)


def _join(settings: Settings) -> str | None:
    """Join the cluster that the settings name; why not, where none answers."""
    # Tries, of 41 s each where nobody answers (measured, Ray 2.60), and 20 by default: rather the next
    # runner tries, which looks the cluster up anew.
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")
    try:
        start_ray(settings)
    except ConnectionError as error:
        return f"no Ray cluster answers at {settings.ray.address}: {_last_line(error.__cause__ or error)}"
    return None


def _last_line(error: BaseException) -> str:
    """What happened; what comes before is Ray's own stack, over several processes."""
    return str(error).strip().rpartition("\n")[2]


def _claims(address: link.Address) -> Iterator[object]:
    yield link.Warm()
    yield from link.claims(address)


def _blocks(give: Callable[[], Iterable[object]]) -> Iterator[pa.Table]:
    for item in give():
        yield _row(item)


def _row(item: object) -> pa.Table:
    return pa.table({ITEM: pa.array([pickle.dumps(item, protocol=5)], pa.large_binary())})


def _item(batch: pa.Table) -> object:
    return pickle.loads(batch.column(ITEM)[0].as_buffer())


if __name__ == "__main__":
    sys.exit(main())
