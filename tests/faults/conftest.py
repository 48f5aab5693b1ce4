"""The stand of the fault suite: three real brokers and a real Ray cluster of three nodes, on this machine.

How much is done follows from the environment: `FAULT_MESSAGES`, `FAULT_ROUNDS`, and `FAULT_RESULT` for the file
that the rows go to. Without them it is the small version.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipeline.kafka.embedded import EmbeddedKafka
    from tests.faults.nodes import Nodes
    from tests.faults.proxy import Proxy
    from tests.faults.stand import Size, Stand

N_BROKERS = 3
PROXIED = "PROXIED"


@pytest.fixture(scope="session")
def size() -> Size:
    """How much is done."""
    from tests.faults.stand import Size

    result = os.environ.get("FAULT_RESULT")
    return Size(
        int(os.environ.get("FAULT_MESSAGES", "3000")),
        int(os.environ.get("FAULT_ROUNDS", "1")),
        Path(result) if result else None,
    )


@pytest.fixture(scope="session")
def proxied_ports() -> list[int]:
    """Where the proxy listens, one port per broker."""
    from pipeline.kafka.embedded import _free_ports

    return _free_ports(N_BROKERS)


@pytest.fixture(scope="session")
def brokers(proxied_ports: list[int]) -> Iterator[EmbeddedKafka]:
    """Three brokers: topics have three replicas, and two must agree. A scenario leaves them as it found them.

    Whoever connects through the proxy stays behind it: the brokers name its ports on a listener of its own.
    """
    from pipeline.kafka.embedded import EmbeddedKafka

    kinds = ",".join(f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", PROXIED))
    with EmbeddedKafka(
        n_brokers=N_BROKERS,
        start_timeout_s=180.0,
        listeners=[PROXIED],
        advertised={PROXIED: proxied_ports},
        properties={"listener.security.protocol.map": kinds},
    ) as cluster:
        yield cluster


@pytest.fixture
def proxy(brokers: EmbeddedKafka, proxied_ports: list[int]) -> Iterator[Proxy]:
    """A network in front of the brokers that does what a rule says."""
    from tests.faults.proxy import Proxy

    with Proxy(proxied_ports) as network:
        network.lead_to([int(one.rpartition(":")[2]) for one in brokers.servers_of(PROXIED).split(",")])
        yield network


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """A head for the runners and two nodes for the replicas. A scenario leaves them as it found them."""
    from tests.faults.nodes import Nodes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Ray warns of at start is about machines, not about us
        with Nodes(n_workers=2) as cluster:
            yield cluster


@pytest.fixture
def stand(brokers: EmbeddedKafka, nodes: Nodes, tmp_path: Path, size: Size) -> Stand:
    """Where a scenario happens."""
    from tests.faults.stand import Stand

    return Stand(brokers, nodes.address, tmp_path, size)
