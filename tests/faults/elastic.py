"""A real Ray cluster whose nodes Ray's own autoscaler adds and removes, on this machine.

As Ray's `AutoscalingCluster`, which cannot be used: the file that it begins from (`example.yaml`) is not in Ray's
wheel, and its start and its end kill every Ray on the machine. A node here is a raylet with the cores that it
claims; what is real is the autoscaler, and what asks it for nodes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import ray
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FAKE_HEAD_NODE_TYPE

from pipeline.kafka.embedded import _free_ports
from tests.faults.nodes import N_TRIES, STORE_BYTES, name_of

IDLE_S = 10.0
"""After so long without work the autoscaler takes a node away."""
_HEAD = """
import sys
from pipeline.process import die_with_parent
from ray.scripts.scripts import main
die_with_parent(int(sys.argv.pop(1)))
sys.exit(main())
"""


class Elastic:
    """A head with one core, and as many nodes of one core as are asked for. A context manager.

    Args:
        folder: For the cluster's configuration and what the head says.
        max_nodes: Beside the head.
    """

    def __init__(self, folder: Path, *, max_nodes: int) -> None:
        self._config = folder / "cluster.json"
        self._log = folder / "head.log"
        self._max_nodes = max_nodes
        self.address = f"{ray.util.get_node_ip_address()}:{_free_ports(1)[0]}"
        """`host:port` of the head."""
        self._head: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._config.write_text(json.dumps(self._settings()))
        for _ in range(N_TRIES):  # Ray gives a node 30 s to come up, however busy the machine
            if self._starts():
                return self
            self._end()
        raise AssertionError(f"the Ray head does not start:\n{self._log.read_text()[-4000:]}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def n_nodes(self) -> int:
        """Nodes beside the head."""
        return max(0, self._count("raylet") - 1)

    @property
    def n_actors(self) -> int:
        """Actors of Ray Data's that are there: Prepare and replicas."""
        return self._count("ray::Map")

    def _starts(self) -> bool:
        """Start a head, and wait until it has started or ended."""
        options = {
            "port": self.address.rpartition(":")[2],
            "autoscaling-config": self._config,
            "num-cpus": 1,
            "object-store-memory": STORE_BYTES,
            "include-dashboard": "false",
            "dashboard-agent-listen-port": 0,
            "ray-client-server-port": _free_ports(1)[0],
            "min-worker-port": 0,
            "max-worker-port": 0,
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        with self._log.open("wb") as sink:
            self._head = subprocess.Popen(
                [sys.executable, "-c", _HEAD, str(os.getpid()), "start", "--head", "--block", *arguments],
                stdout=sink,
                stderr=sink,
                env=os.environ | _AUTOSCALER,
                start_new_session=True,
            )
        while self._head.poll() is None:
            if "Ray runtime started" in self._log.read_text():
                return True
            time.sleep(0.1)
        return False

    def _count(self, name: str) -> int:
        return sum(name_of(one).startswith(name) for one in self._processes())

    def _processes(self) -> list[psutil.Process]:
        """All of the cluster's, the head first: whoever starts others comes before them."""
        if self._head is None:
            return []
        try:
            head = psutil.Process(self._head.pid)
            return [head, *head.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _end(self) -> None:
        """Kill all of it. Nodes outlive the autoscaler that started them: it is stopped before they are listed."""
        for one in self._processes():
            if "monitor.py" in " ".join(_command(one)):
                one.suspend()
        for one in self._processes():
            _kill(one)
        if self._head is not None:
            self._head.wait(10)

    def _settings(self) -> dict[str, Any]:
        worker = {"resources": {"CPU": 1, "object_store_memory": STORE_BYTES}, "node_config": {}}
        return {
            "cluster_name": "elastic",
            "provider": {
                "type": "external",  # the type of its own begins from the file that is not there
                "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
                "gcs_address": self.address,
                "head_node_id": FAKE_HEAD_NODE_ID,
                "launch_multiple": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "max_workers": self._max_nodes,
            "idle_timeout_minutes": IDLE_S / 60,
            "file_mounts": {},
            "cluster_synced_files": [],
            **{f"{kind}setup_commands": [] for kind in ("", "head_", "worker_")},
            "head_node_type": FAKE_HEAD_NODE_TYPE,
            "available_node_types": {
                FAKE_HEAD_NODE_TYPE: {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
                "worker": {**worker, "min_workers": 0, "max_workers": self._max_nodes},
            },
        }


_AUTOSCALER = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",  # as `ray up` and KubeRay have it by default
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_AUTH_MODE": "disabled",  # `ray start` would ask for the token that it makes in the home folder
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": str(Path(__file__).parents[2]),
}


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
