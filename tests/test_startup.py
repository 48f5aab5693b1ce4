from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kafka.admin import ConfigResource

from actors.bundle import Bundle, write_bundle
from pipeline import startup
from pipeline.bundles import open_bundle
from pipeline.errors import BrokerUnreachable, BundleRefused, SettingsError
from pipeline.kafka import topics
from pipeline.publisher import Destination
from pipeline.records import Route
from pipeline.settings import Settings
from tests.fakes import stand_in_bundle

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

    from pipeline.kafka.embedded import EmbeddedKafka

Make = Callable[..., Settings]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return stand_in_bundle(tmp_path_factory.mktemp("startup"))


# --- the bundle


def test_a_bundle_that_is_whole_is_opened(bundle: Bundle) -> None:
    assert open_bundle(Settings(bundle=str(bundle.path))) == bundle


def test_a_bundle_that_was_altered_is_refused_with_the_name_of_the_file(
    bundle: Bundle, tmp_path: Path
) -> None:
    altered = shutil.copytree(bundle.path, tmp_path / "altered")
    (altered / "model.safetensors").write_text("other weights")
    with pytest.raises(BundleRefused, match=r"model\.safetensors was altered") as refused:
        open_bundle(Settings(bundle=str(altered)))
    assert str(altered) in str(refused.value)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleRefused, match=str(tmp_path)):
        open_bundle(Settings(bundle=str(tmp_path)))


def test_a_token_budget_below_the_longest_pair_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    """Every replica refused it while it was built, and the gate ended with three failed starts."""
    manifest = replace(bundle.manifest, max_tokens=600, files={})
    long = write_bundle(tmp_path / "long", model_folder=bundle.path, manifest=manifest)
    with pytest.raises(SettingsError, match="608") as refused:
        open_bundle(Settings(bundle=str(long.path), pool={"budget_tokens": 607}))
    assert refused.value.setting == "pool.budget_tokens"
    assert open_bundle(Settings(bundle=str(long.path), pool={"budget_tokens": 608})) == long


# --- the broker


def test_without_a_broker_the_addresses_are_named() -> None:
    kafka = {"bootstrap_servers": "127.0.0.1:1", "bootstrap_timeout_ms": 300}
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1"):
        startup.destinations(Settings(bundle="b", kafka=kafka))


@pytest.mark.parametrize("kafka", [{}, {"bootstrap_servers": "a:1", "bootstrap_srevers": "b:1"}])
def test_a_wrong_kafka_setting_is_refused_by_name(kafka: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"kafka\.bootstrap_s"):
        startup.destinations(Settings(bundle="b", kafka=kafka))


@pytest.fixture
def make(kafka: EmbeddedKafka, topic: Callable[..., str]) -> Make:
    """Settings whose topics exist, with so many partitions each: `make(input=2, prune=3)`."""

    def settings(*, fold_partitions: bool = False, **partitions: int) -> Settings:
        wanted = {"input": 1, "prune": 1, "review": 1, "pass": 1, "reject": 1} | partitions
        names: dict[str, Any] = {name: topic(n) if n else f"absent-{name}" for name, n in wanted.items()}
        names["fold_partitions"] = fold_partitions
        return Settings(bundle="b", kafka={"bootstrap_servers": kafka.bootstrap_servers}, topics=names)

    return settings


@pytest.mark.kafka
def test_every_route_that_is_on_has_its_topic_and_partitions(make: Make) -> None:
    settings = make(input=2, prune=2, review=3, reject=2, audit=2, **{"pass": 4})
    found = startup.destinations(settings)
    names = settings.topics
    assert found == {
        Route.PRUNE: Destination(names.prune, 2),
        Route.REVIEW: Destination(names.review, 3),
        Route.PASS: Destination(names.pass_, 4),
        Route.REJECT: Destination(names.reject, 2),
        Route.AUDIT: Destination(names.audit, 2),
    }


@pytest.mark.kafka
@pytest.mark.parametrize("name", ["input", "review", "pass", "audit"])
def test_a_missing_topic_is_refused_by_the_name_of_its_setting(make: Make, name: str) -> None:
    with pytest.raises(SettingsError, match=f"absent-{name}") as refused:
        startup.destinations(make(**{name: 0}))
    assert refused.value.setting == f"topics.{name}"
    assert "sluice topics create" in refused.value.problem


@pytest.mark.kafka
def test_an_output_with_fewer_partitions_than_the_input_is_refused_unless_they_may_be_shared(
    make: Make,
) -> None:
    partitions = {"input": 2, "prune": 2, "review": 2, "pass": 2, "reject": 1}
    with pytest.raises(SettingsError, match="1 partitions, the input has 2") as refused:
        startup.destinations(make(**partitions))
    assert refused.value.setting == "topics.reject"
    found = startup.destinations(make(fold_partitions=True, **partitions))
    assert found[Route.REJECT].n_partitions == 1


@pytest.mark.kafka
def test_an_output_that_does_not_take_the_largest_message_is_refused(
    make: Make, admin: KafkaAdminClient
) -> None:
    """The broker refused the message, and the gate built its session anew until it gave up."""
    settings = make()
    startup.destinations(settings)
    name = settings.topics.review
    admin.alter_configs([ConfigResource("topic", name, {"max.message.bytes": "600000"})])
    deadline = time.monotonic() + 60
    while topics.largest_batches(settings.kafka, [name])[name] != 600_000:
        assert time.monotonic() < deadline, "the broker takes its time over the new setting"

    with pytest.raises(SettingsError) as refused:
        startup.destinations(settings)
    assert refused.value.setting == "topics.review"
    for fact in (settings.topics.review, "max.message.bytes", "600000", "limits.max_message_bytes (1000000)"):
        assert fact in refused.value.problem
    narrow = settings.limits.model_copy(update={"max_message_bytes": 500_000, "max_reject_bytes": 100_000})
    startup.destinations(settings.model_copy(update={"limits": narrow}))


@pytest.mark.kafka
def test_where_the_broker_does_not_show_what_an_output_takes_the_gate_starts(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make()
    monkeypatch.setattr(startup.topics, "largest_batches", lambda _, names: dict.fromkeys(names))
    assert startup.destinations(settings)
    assert f"max.message.bytes of {settings.topics.prune}: not checked" in caplog.text
