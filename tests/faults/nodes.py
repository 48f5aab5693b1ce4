"""A real Ray cluster of several nodes on this machine, whose nodes can be killed and replaced."""

from __future__ import annotations

import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import psutil
from ray.cluster_utils import Cluster

from pipeline.kafka.embedded import _free_ports

STORE_BYTES = 150 << 20
N_TRIES = 5


class Nodes:
    """A head, and workers; one worker and the head have room for a small gate.

    Args:
        n_workers: Nodes beside the head.
    """

    def __init__(self, *, n_workers: int) -> None:
        self._n_workers = n_workers
        self._port = _free_ports(1)[0]
        self._cluster = Cluster()

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cluster.shutdown()

    @property
    def address(self) -> str:
        """`host:port`, the same after the head was restarted."""
        return str(self._cluster.address)

    def replace_worker(self) -> None:
        """Kill a worker node, raylet, replicas and all (SIGKILL), and add another in its place."""
        self._cluster.remove_node(min(self._cluster.worker_nodes, key=id), allow_graceful=False)
        self._add_worker()

    def restart(self, *, after_s: float = 0.0) -> None:
        """Kill the head, then what has lost it (SIGKILL); after a while start it all anew at its address."""
        cluster, self._cluster = self._cluster, Cluster()
        for node in cluster.list_all_nodes():
            cluster.remove_node(node, allow_graceful=False)
        time.sleep(after_s)
        self._start()

    def _start(self) -> None:
        # With one node gone there is room left for the whole pool.
        self._add(num_cpus=1, include_dashboard=False, gcs_server_port=self._port)
        for _ in range(self._n_workers):
            self._add_worker()

    def _add_worker(self) -> None:
        self._add(num_cpus=3)

    def _add(self, **node: Any) -> None:
        cluster = self._cluster
        for _ in range(N_TRIES):
            head, workers, others = cluster.head_node, {*cluster.worker_nodes}, _services()
            # Ray gives a node 30 s to come up, however busy the machine, and raises no class of its own.
            with suppress(Exception):
                cluster.add_node(object_store_memory=STORE_BYTES, **node)
                return
            # The next one may need the port of what is left of this one.
            cluster.head_node, cluster.worker_nodes = head, workers
            for service in _services() - others:
                with suppress(psutil.NoSuchProcess):
                    service.kill()
        raise AssertionError(f"a Ray node did not start {N_TRIES} times; the end of its logs says why")


def name_of(process: psutil.Process) -> str:
    """What a process goes by; nothing once it is gone."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def _services() -> set[psutil.Process]:
    """What makes Ray's nodes, of those below this process; all else of a node ends with it."""
    below = psutil.Process().children(recursive=True)
    return {one for one in below if name_of(one) in {"gcs_server", "raylet"}}
