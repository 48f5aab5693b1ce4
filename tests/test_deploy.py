"""What the manifests in deploy/ name is there: settings, versions, groups, bounds; and their commands run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.serving.settings import ServeSettings
from pipeline.settings import Settings, load

DEPLOY = Path(__file__).parents[1] / "deploy"
MANIFESTS = sorted(DEPLOY.glob("*/*.yaml"))
GATE, ONLINE, GATES = (
    DEPLOY / "kuberay" / "gate.yaml",
    DEPLOY / "kuberay" / "online.yaml",
    DEPLOY / "keda" / "gates.yaml",
)


def objects(path: Path) -> dict[str, dict[str, Any]]:
    """What a manifest holds, by kind; each is there once."""
    found = list(yaml.safe_load_all(path.read_text()))
    by_kind = {one["kind"]: one for one in found}
    assert len(by_kind) == len(found)
    return by_kind


def pods(path: Path) -> list[dict[str, Any]]:
    """The pods' specifications, whatever makes them."""
    found = objects(path)
    cluster = found.get("RayCluster", {}).get("spec") or found.get("RayService", {}).get("spec", {}).get(
        "rayClusterConfig"
    )
    if cluster is None:
        return [found["StatefulSet"]["spec"]["template"]["spec"]]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def environment(path: Path) -> dict[str, str]:
    """The variables of the container that runs the gate; what a secret holds is its key."""
    (container,) = [
        one
        for pod in pods(path)
        for one in pod["containers"]
        if "pipeline.cli" in "".join(one.get("args", ()))
    ]
    return {one["name"]: one.get("value") or "from-elsewhere" for one in container["env"]}


def settings_of(path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Settings:
    for name, value in environment(path).items():
        if name.startswith("SLUICE_"):
            monkeypatch.setenv(name, value)
    written = folder / "gate.yaml"
    written.write_text(objects(path)["ConfigMap"]["data"]["gate.yaml"])
    return load(written)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_pod_has_this_very_ray_and_what_it_mounts(path: Path) -> None:
    import ray

    maps = objects(path)["ConfigMap"]
    for pod in pods(path):
        volumes = {one["name"] for one in pod["volumes"]}
        for container in [*pod["initContainers"], *pod["containers"]]:
            assert container["image"].startswith(f"rayproject/ray:{ray.__version__}-py311")
            assert {one["name"] for one in container["volumeMounts"]} <= volumes
            for variable in container["env"]:
                if reference := variable.get("valueFrom", {}).get("configMapKeyRef"):
                    assert reference["name"] == maps["metadata"]["name"]
                    assert reference["key"] in maps["data"]
        for resources in (one["resources"] for one in pod["containers"]):
            assert resources["requests"] == resources["limits"], "Ray counts with what it may use"
    if "RayCluster" in objects(path):
        assert objects(path)["RayCluster"]["spec"]["rayVersion"] == ray.__version__


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_package_is_installed_where_python_looks_for_it(path: Path, tmp_path: Path) -> None:
    """Without an index only the project itself can be installed, from its folder."""
    installing = {one["args"][0] for pod in pods(path) for one in pod["initContainers"]}
    assert len(installing) == 1, "every pod has the same"
    assert all("/sluice" in _value(pod, "PYTHONPATH") for pod in pods(path))
    target = tmp_path / "sluice"
    script = installing.pop().replace("/sluice", str(target)).replace("/tmp/constraint", str(tmp_path / "c"))
    project = tmp_path / "project"
    project.mkdir()
    for name in ("pipeline", "actors", "pyproject.toml", "README.md", "LICENSE"):
        (project / name).symlink_to(DEPLOY.parent / name)
    subprocess.run(
        ["bash", "-euc", script],
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SLUICE_PACKAGE": str(project),
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
        },
        check=True,
        timeout=300,
    )
    assert (target / "pipeline" / "cli.py").is_file()


def _value(pod: dict[str, Any], name: str) -> str:
    (container,) = pod["containers"]
    (found,) = [one["value"] for one in container["env"] if one["name"] == name]
    return str(found)


@pytest.mark.parametrize("path", [GATE, GATES], ids=["kuberay", "keda"])
def test_the_gate_is_started_with_its_settings_once_its_node_has_joined(path: Path, tmp_path: Path) -> None:
    """Ray, its health check and Python are stand-ins that write down when they were called."""
    (gate,) = [one for pod in pods(path) for one in pod["containers"] if one["name"] == "gate"]
    said = tmp_path / "said"
    stand_ins = {
        "ray": f'echo "ray $*" >> {said}; sleep 0.5; touch {tmp_path}/up',
        "wget": f'test -e {tmp_path}/up && echo success && echo "healthy" >> {said}',
        "python": f'echo "python $*" >> {said}',
    }
    for name, script in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    subprocess.run(
        [*gate["command"], *gate["args"]],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "KUBERAY_GEN_RAY_START_CMD": "ray start --block"},
        check=True,
        timeout=300,
    )
    settings = next(one["mountPath"] for one in gate["volumeMounts"] if one["name"] == "settings")
    joined = ["ray start --block", "healthy"] if path is GATE else []
    assert said.read_text().splitlines() == [*joined, f"python -m pipeline.cli run -c {settings}"]


@pytest.mark.parametrize("path", [GATE, GATES], ids=["kuberay", "keda"])
def test_the_settings_of_a_gate_are_such_as_it_takes(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = settings_of(path, monkeypatch, tmp_path)
    (pod,) = [one for one in pods(path) if any(c["name"] == "gate" for c in one["containers"])]
    (gate,) = pod["containers"]
    mounts = {one["mountPath"] for one in gate["volumeMounts"]}
    assert settings.gate.instance is not None
    assert settings.kafka["sasl_plain_password"]
    assert settings.kafka["ssl_cafile"].rpartition("/")[0] in mounts
    assert settings.bundle.startswith(tuple(mounts))
    assert gate["ports"] == [{"name": "doors", "containerPort": settings.http.port}]
    assert settings.http.host == "0.0.0.0"
    assert pod["terminationGracePeriodSeconds"] > settings.gate.shutdown_grace_s


def test_the_ray_cluster_has_room_for_the_pool_and_none_for_work_beside_the_gate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pool = settings_of(GATE, monkeypatch, tmp_path).pool
    cluster = objects(GATE)["RayCluster"]["spec"]
    groups = {one["groupName"]: one for one in cluster["workerGroupSpecs"]}
    gpus = [groups["gpu"], groups["gpu-spot"]]
    assert all(one["minReplicas"] == 0 for one in gpus), "an idle gate keeps no GPU"
    assert sum(one["maxReplicas"] for one in gpus) >= pool.max_replicas * pool.gpus_per_replica
    cores = [int(one["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]) for one in gpus]
    room = sum(one["maxReplicas"] * n for one, n in zip(gpus, cores, strict=True))
    assert room >= pool.max_replicas * pool.cpus_per_replica + pool.prepare_actors * pool.cpus_per_prepare
    for one in (cluster["headGroupSpec"], groups["gate"]):
        assert one["rayStartParams"]["num-cpus"] == "0"
    assert groups["gate"]["minReplicas"] == groups["gate"]["maxReplicas"] == 1, "one execution per cluster"


def test_a_gate_of_its_own_has_room_for_its_pool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = settings_of(GATES, monkeypatch, tmp_path)
    pool = settings.pool
    assert settings.ray.address is None
    cpus = pool.max_replicas * pool.cpus_per_replica + pool.prepare_actors * pool.cpus_per_prepare
    assert cpus <= (settings.ray.num_cpus or 0)
    assert (pool.max_replicas, pool.gpus_per_replica) == (1, 1)


def test_keda_counts_the_lag_of_the_gates_that_it_scales(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = settings_of(GATES, monkeypatch, tmp_path)
    found = objects(GATES)
    scaled, gates = found["ScaledObject"]["spec"], found["StatefulSet"]
    assert scaled["scaleTargetRef"]["kind"] == "StatefulSet"
    assert scaled["scaleTargetRef"]["name"] == gates["metadata"]["name"]
    assert "replicas" not in gates["spec"], "the number is KEDA's to set"
    assert gates["spec"]["serviceName"] == found["Service"]["metadata"]["name"]
    (trigger,) = scaled["triggers"]
    lag = trigger["metadata"]
    assert lag["consumerGroup"] == settings.gate.group
    assert lag["topic"] == settings.topics.input
    assert lag["bootstrapServers"] == settings.kafka["bootstrap_servers"]
    assert lag["offsetResetPolicy"] == settings.gate.start
    assert trigger["authenticationRef"]["name"] == found["TriggerAuthentication"]["metadata"]["name"]
    assert all(isinstance(value, str) for value in lag.values()), "KEDA takes nothing but strings"


def test_the_serve_config_has_settings_that_the_door_takes_and_the_cluster_room_for_its_pool() -> None:
    config = yaml.safe_load(objects(ONLINE)["RayService"]["spec"]["serveConfigV2"])
    (application,) = config["applications"]
    settings = ServeSettings(**application["args"])
    cluster = objects(ONLINE)["RayService"]["spec"]["rayClusterConfig"]
    (gpu,) = cluster["workerGroupSpecs"]
    assert gpu["maxReplicas"] >= settings.pool.max_replicas * settings.pool.gpus_per_replica
    assert gpu["minReplicas"] >= settings.pool.min_replicas * settings.pool.gpus_per_replica
