"""What tests of every part share: one real Kafka and one real Ray for the whole run, and topics of their own."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

# Imported where they are used: most tests need no client, and should not wait for one.
if TYPE_CHECKING:
    from kafka import KafkaAdminClient

    from actors.bundle import Bundle
    from pipeline.kafka.embedded import EmbeddedKafka


# A slow machine is no failing example: time is what the tests' own limit is for.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def kafka() -> Iterator[EmbeddedKafka]:
    """The broker of this test run, started by the first test that asks. Shared: never stop or kill it."""
    from pipeline.kafka.embedded import EmbeddedKafka

    with EmbeddedKafka() as broker:
        yield broker


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A Ray cluster of one node on this machine, with more cores than it has: the tests' gates are small."""
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Ray warns of at start is about machines, not about us
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 8, "object_store_memory": 300 << 20, "include_dashboard": False},
        )
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="session")
def admin(kafka: EmbeddedKafka) -> Iterator[KafkaAdminClient]:
    """An admin client of the shared broker."""
    from kafka import KafkaAdminClient

    with KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers) as client:
        yield client


@pytest.fixture(scope="session")
def topics(admin: KafkaAdminClient) -> Callable[..., list[str]]:
    """Make topics at once and return their names, in order: `topics("input", "prune", partitions=3)`.

    They have their leaders when the call returns.
    """
    numbers = itertools.count()

    def make(*names: str, partitions: int = 1, **configs: str) -> list[str]:
        unique = [f"{name}-{os.getpid()}-{next(numbers)}" for name in names]
        new = {"num_partitions": partitions, "replication_factor": 1, "configs": configs}
        admin.create_topics(dict.fromkeys(unique, new), wait_for_metadata=True)
        return unique

    return make


@pytest.fixture(scope="session")
def topic(topics: Callable[..., list[str]]) -> Callable[..., str]:
    """Make a topic and return its name: `topic(partitions=3)`. It has its leaders when the call returns."""

    def make(partitions: int = 1, name: str = "t", **configs: str) -> str:
        return topics(name, partitions=partitions, **configs)[0]

    return make


@pytest.fixture(scope="session")
def shopping_pairs() -> Path:
    """Parquet of 4,887 real query-product pairs over 110 queries. Beside the project, not in it."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / "esci_dev.parquet"
    if not path.exists():
        pytest.skip(f"no {path.name} in the folder of shared data")
    return path


@pytest.fixture(scope="session")
def base_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A real bundle: MiniLM with a head drawn at random, always the same. It knows nothing; it scores.

    Fields: `text` or `theme` against `text` or `title` and `brand`; 64 tokens; all three actions occur.
    """
    from actors.bundle import write_bundle
    from actors.calibration import PlattMap
    from actors.manifest import Manifest, ReferenceScores
    from actors.pairs import PairTemplate, Part
    from actors.policy import Policy
    from actors.rubric import SEVERE_OR_NOT
    from tests.model_folders import minilm_classifier

    return write_bundle(
        tmp_path_factory.mktemp("bundles") / "base",
        model_folder=minilm_classifier(tmp_path_factory.mktemp("model")),
        manifest=Manifest(
            name="base",
            template=PairTemplate(
                query=(Part("text"), Part("theme")),
                document=(Part("text"), Part("title"), Part("brand", "Brand: ")),
            ),
            max_tokens=64,
            calibration=PlattMap(slope=0.8, intercept=-0.5),
            policy=Policy(prune=2.0, review=0.0, rests_on="set by hand, for tests"),
            reference=ReferenceScores.of([-1.0, 0.0, 1.0]),
            rubric=SEVERE_OR_NOT,
            roles={},
            origin="none: the head is random",
        ),
    )


@pytest.fixture(scope="session")
def demo_bundle() -> Bundle:
    """The demo's bundle, with a model that was really trained. Kept in the user's cache, as the demo keeps it.

    Building it the first time takes a minute or two on two free cores: give the test a time limit to match.
    """
    from actors.bundle import Bundle
    from actors.learn.train import build_demo_bundle
    from pipeline.kafka.jars import cache_folder

    return Bundle.open(build_demo_bundle(cache_folder() / "bundles"))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch has one thread in a module: for so small a model others only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def few_draws() -> Iterator[None]:
    """Figures get their intervals of a tenth of the draws in a module: for tests of something else than these."""
    from actors.learn import bootstrap

    with pytest.MonkeyPatch.context() as patch:
        for drawn in (bootstrap.interval, bootstrap.intervals):
            patch.setitem(drawn.__kwdefaults__, "n_draws", bootstrap.N_DRAWS // 10)
        yield


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder of one layer, of random weights, with MiniLM's tokenizer: it trains in no time."""
    from tests.model_folders import tiny_encoder

    return tiny_encoder(tmp_path_factory.mktemp("tiny-encoder"))
