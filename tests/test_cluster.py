"""The files for `ray up`: Ray's schema takes them, and their commands make a cluster that a gate is ready on."""

from __future__ import annotations

import contextlib
import copy
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import yaml

from pipeline.settings import load
from tests.ports import free_port

if TYPE_CHECKING:
    from actors.bundle import Bundle
    from pipeline.kafka.embedded import EmbeddedKafka

ROOT = Path(__file__).parents[1]
AWS, ON_PREMISE = "cluster.yaml", "cluster-onprem.yaml"
STOP = re.compile(r"(~/sluice/\.venv/bin/)?ray stop")


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return found


def prepared(name: str) -> dict[str, Any]:
    """As `ray up` has it before it asks the provider for anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config: dict[str, Any] = prepare_config(read(name))
    validate_config(config)
    return config


@pytest.mark.parametrize("name", [AWS, ON_PREMISE])
def test_ray_takes_the_file(name: str) -> None:
    config = prepared(name)
    assert config["head_node_type"] in config["available_node_types"]
    paths = [path for path in config["file_mounts"].values() if path != "out/bundle"]
    assert all((ROOT / path).exists() for path in paths)


def test_a_misspelt_name_would_not_be_taken(tmp_path: Path) -> None:
    import jsonschema
    from ray.autoscaler._private.util import validate_config

    config = prepared(AWS)
    config["available_node_types"]["gpu"]["max_worker"] = 3
    with pytest.raises(jsonschema.ValidationError):
        validate_config(config)


def test_the_cluster_has_room_for_the_pool_that_its_settings_may_grow_to() -> None:
    pool = load(ROOT / "configs" / "cluster.yaml").pool
    config = prepared(AWS)
    nodes = config["available_node_types"]
    room = {
        name: sum(node["resources"].get(name, 0) * node.get("max_workers", 0) for node in nodes.values())
        for name in ("CPU", "GPU")
    }
    assert sum(node["max_workers"] for node in nodes.values()) == config["max_workers"]
    assert room["GPU"] >= pool.max_replicas * pool.gpus_per_replica
    cpus = pool.max_replicas * pool.cpus_per_replica + pool.prepare_actors * pool.cpus_per_prepare
    assert room["CPU"] >= cpus
    assert nodes["head"]["resources"]["CPU"] == 0, "nothing that may die of a message is beside the gate"
    spot = nodes["gpu_spot"]["node_config"]["InstanceMarketOptions"]
    assert spot == {"MarketType": "spot"}
    assert {node.get("min_workers") for node in nodes.values()} == {0}, "an idle cluster is its head"


def test_the_image_has_the_ray_and_the_python_that_the_lock_was_made_for() -> None:
    import ray

    lock = (ROOT / "requirements.lock").read_text()
    assert f"ray=={ray.__version__}\n" in lock
    config = read(AWS)
    assert config["docker"]["image"] == f"rayproject/ray:{ray.__version__}-py311-gpu"
    assert f"ray[default]=={ray.__version__}" in config["setup_commands"][0]


class Nodes:
    """Nodes of one cluster as processes on this machine, made by a cluster file's own commands."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        # A socket's path is short: Ray's folder cannot be as deep as a test's.
        self._ray = Path(f"/tmp/ray-{os.getpid()}-{folder.name[-6:]}")
        self.port = free_port()
        self._environment = {
            **os.environ,
            "HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_HEAD_IP": "127.0.0.1",
            "RAY_FAKE_CLUSTER": "1",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_TMPDIR": str(self._ray),
        }

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def run(self, commands: Sequence[str], **environment: str) -> None:
        """Run them as `ray up` has them run: each by a shell of its own, in the home folder."""
        for command in commands:
            if STOP.fullmatch(command):
                continue  # it would stop every Ray of this machine
            done = subprocess.run(
                ["bash", "-c", self._here(command)],
                cwd=self.home,
                env=self._environment | environment,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    def _here(self, command: str) -> str:
        """On ports that are free, with little memory, and without what only a whole machine has."""
        command = command.replace("6379", str(self.port)).replace("8076", str(free_port()))
        small = "--dashboard-agent-listen-port=0 --object-store-memory=100000000"
        if "--head" in command:
            small += f" --include-dashboard=false --temp-dir={self._ray}"
            # Of the cloud's head it is the autoscaler who says so, of its node type.
            small += "" if "--num-cpus" in command else " --num-cpus=0"
        return re.sub(r"(ray start)\b", rf"\1 {small}", command)

    def close(self) -> None:
        """Kill what was started, and what that starts meanwhile: all that names this cluster's folder or port."""
        while found := self._processes():
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(found, timeout=10)
        shutil.rmtree(self._ray, ignore_errors=True)

    def _processes(self) -> list[psutil.Process]:
        marks = (str(self._ray), self.address)
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if process.pid != os.getpid()
            and any(mark in word for mark in marks for word in process.info["cmdline"] or ())
        ]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    nodes.close()


def test_the_setup_commands_of_the_cloud_install_the_project(nodes: Nodes, tmp_path: Path) -> None:
    """Without an index only the project itself can be installed; its dependencies are those of the lock."""
    config = read(AWS)
    (nodes.home / "sluice").mkdir()
    for name in ("pipeline", "actors", "pyproject.toml", "README.md", "LICENSE"):
        (nodes.home / "sluice" / name).symlink_to(ROOT / name)
    (command,) = config["setup_commands"]
    project, ray = re.findall(r'"([^"]+)"', command)
    assert "ray[default]" in ray
    packages = tmp_path / "packages"
    alone = {
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_TARGET": str(packages),
    }
    nodes.run([command.replace(f' "{ray}"', "")], **alone)
    assert project == "$HOME/sluice"
    assert (packages / "pipeline" / "keeper.py").is_file()
    assert (packages / "pipeline" / "schemas" / "verdict.schema.json").is_file()
    assert (packages / "bin" / "sluice").is_file()
    for one in [*config["head_setup_commands"], *config["setup_commands"]]:
        subprocess.run(["bash", "-n", "-c", one], check=True)


def test_the_setup_commands_on_premise_find_nothing_to_do_where_it_is_done(nodes: Nodes) -> None:
    """What they do otherwise is `make setup`, which made the environment that this test runs in."""
    project = nodes.home / "sluice"
    (project / ".venv").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        (project / name).symlink_to(ROOT / name)
    (project / ".venv" / ".installed").touch()
    nodes.run(read(ON_PREMISE)["setup_commands"])
    assert [one.name for one in (project / ".venv").iterdir()] == [".installed"]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_start_commands_make_a_cluster(nodes: Nodes) -> None:
    """A head as on premise, a worker as there and one as in the cloud; the cloud's head is in the next test."""
    cloud, on_premise = read(AWS), read(ON_PREMISE)
    (nodes.home / "sluice").symlink_to(ROOT)
    for config in (cloud, on_premise):
        assert all(STOP.fullmatch(config[f"{kind}_start_ray_commands"][0]) for kind in ("head", "worker"))
    bootstrap = prepared(ON_PREMISE) | {"provider": {"type": "readonly"}}
    (nodes.home / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(bootstrap))

    nodes.run(on_premise["head_start_ray_commands"])
    nodes.run(on_premise["worker_start_ray_commands"])
    nodes.run(cloud["worker_start_ray_commands"])

    until(lambda: len(living(nodes.address)) == 3, "three nodes")


@pytest.mark.kafka
@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_gate_on_the_cluster_brings_a_gpu_node_and_is_ready(
    nodes: Nodes, kafka: EmbeddedKafka, topic: Callable[..., str], base_bundle: Bundle, tmp_path: Path
) -> None:
    """The head is started by its own command; nodes are what Ray's autoscaler makes of the file's node types."""
    from tests.integration.gates import Gate

    config = read(AWS)
    (nodes.home / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(on_this_machine(nodes.address)))
    nodes.run(config["head_start_ray_commands"])

    names = {name: topic(name=name) for name in ("input", "prune", "review", "pass", "reject")}
    sets = {
        "bundle": base_bundle.path,
        "kafka": f"{{bootstrap_servers: '{kafka.bootstrap_servers}', security_protocol: PLAINTEXT, "
        "sasl_mechanism: null, sasl_plain_username: null, ssl_cafile: null}",
        **{f"topics.{name}": value for name, value in names.items()},
        "gate.group": names["input"],
        "pool.prepare_actors": 1,  # of processes this machine has fewer
        "ray.address": nodes.address,
        "http.port": 0,
    }
    arguments = [part for name, value in sets.items() for part in ("--set", f"{name}={value}")]
    with Gate(["-c", "configs/cluster.yaml", *arguments], tmp_path / "log") as gate:
        gate.until(lambda: ready(gate.url), "is ready", timeout_s=600)
        assert gate.stop() == 0
    assert max((node.get("CPU", 0), node.get("GPU", 0)) for node in living(nodes.address)) == (8, 1)


def on_this_machine(address: str) -> dict[str, Any]:
    """The file's node types, each node of which is a process here."""
    config = prepared(AWS)
    types = copy.deepcopy(config["available_node_types"])
    types["ray.head.default"] = types.pop("head")  # as this provider calls it
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": address,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    }
    return config | {
        "provider": provider,
        "available_node_types": types,
        "head_node_type": "ray.head.default",
        "file_mounts": {},
        "docker": {},
    }


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/readyz", timeout=60):
            return True
    except OSError:
        return False


def living(address: str) -> list[dict[str, float]]:
    """The resources of the cluster's nodes that live."""
    from ray._raylet import GcsClient
    from ray.core.generated.gcs_pb2 import GcsNodeInfo

    nodes = GcsClient(address=address).get_all_node_info(timeout=30).values()
    return [dict(node.resources_total) for node in nodes if node.state == GcsNodeInfo.ALIVE]


def until(reached: Callable[[], object], what: str, timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, f"no {what} within {timeout_s} s"
        time.sleep(0.5)
