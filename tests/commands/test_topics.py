from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import SettingsError
from pipeline.kafka import topics

if TYPE_CHECKING:
    from pipeline.kafka.embedded import EmbeddedKafka


@pytest.mark.kafka
def test_the_topics_of_a_gate_are_created_once(kafka: EmbeddedKafka) -> None:
    unique = uuid.uuid4().hex[:8]
    names = {name: f"{name}-{unique}" for name in ("input", "prune", "review", "pass", "reject")}
    words = ["bundle=b", f"kafka.bootstrap_servers={kafka.bootstrap_servers}"]
    words += [f"topics.{name}={topic}" for name, topic in names.items()]
    options = [part for word in words for part in ("--set", word)]

    first = CliRunner().invoke(app, ["topics", "create", "--partitions", "2", "--json", *options])
    assert first.exit_code == 0, first.output
    assert sorted(json.loads(first.stdout)["created"]) == sorted(names.values())
    counts = topics.partition_counts({"bootstrap_servers": kafka.bootstrap_servers}, names.values())
    assert set(counts.values()) == {2}

    again = CliRunner().invoke(app, ["topics", "create", *options])
    assert again.stdout.count("present") == len(names)


@pytest.mark.kafka
def test_a_topic_that_can_never_be_is_refused_for_good(kafka: EmbeddedKafka) -> None:
    """It was said to be worth another try: exit code 75. Kafka takes `a.b` and `a_b` for too much alike."""
    unique = uuid.uuid4().hex[:8]
    servers = ["--set", "bundle=b", "--set", f"kafka.bootstrap_servers={kafka.bootstrap_servers}"]
    one, other = (["--set", f"topics.input={unique}{mark}a"] for mark in "._")
    assert CliRunner().invoke(app, ["topics", "create", *servers, *one]).exit_code == 0
    said = CliRunner().invoke(app, ["topics", "create", *servers, *other])
    assert isinstance(said.exception, SettingsError)
    assert "refused by the broker" in str(said.exception)
