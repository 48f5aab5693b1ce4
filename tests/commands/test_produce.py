"""`sluice produce` fills the input topic with what the gate decodes, and says how much."""

from __future__ import annotations

import json
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from pipeline.codec import decode
from pipeline.commands.produce import produce
from pipeline.errors import DataUnusable, SettingsError
from pipeline.kafka import topics
from pipeline.kafka.reader import RangeReader
from pipeline.settings import Settings, load

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka, topic) -> Settings:
    return load(None, sets(kafka.bootstrap_servers, topic()))


def sets(servers: str, name: str) -> list[str]:
    return ["bundle=none", f"kafka.bootstrap_servers={servers}", f"topics.input={name}"]


def run(settings: Settings, *arguments: str):
    app = typer.Typer()
    app.command()(produce)
    chosen = sets(settings.kafka["bootstrap_servers"], settings.topics.input)
    return CliRunner().invoke(app, [*arguments, *(word for one in chosen for word in ("--set", one))])


def in_topic(settings: Settings):
    """Messages, candidates and rejects, as the gate finds them."""
    ((source, extent),) = topics.extents(settings.kafka, settings.topics.input).items()
    with closing(RangeReader(settings.kafka)) as reader:
        records = reader.read(source, 0, extent.last_stable, max_records=9999, max_bytes=1 << 30).records
    return records, *decode(records, settings.limits.to_codec())


@pytest.fixture
def items(tmp_path):
    path = tmp_path / "items.parquet"
    rows = [
        {"sku": f"s{i}", "theme": "boots", "title": f"Boot {i}", "brand": None if i % 2 else "Acme"}
        for i in range(10)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path), "--id", "sku", "--query", "theme", "--document", "title,brand"


@pytest.mark.parametrize(("batches", "n_messages"), [((), 10), (("--batch-rows", "4"), 3)])
def test_a_parquet_file_becomes_candidates(settings, items, batches, n_messages):
    said = run(settings, *items, *batches, "--json")
    assert said.exit_code == 0, said.output
    report = json.loads(said.stdout)
    assert (report["messages"], report["candidates"], report["malformed"]) == (n_messages, 10, 0)
    assert report["seconds"] > 0
    records, found, rejected = in_topic(settings)
    assert (len(records), len(rejected)) == (n_messages, 0)
    assert found.candidate_id == [f"s{i}" for i in range(10)]
    assert found.query[0] == {"text": "boots"}
    assert [dict(fields) for fields in found.document[:2]] == [
        {"title": "Boot 0", "brand": "Acme"},
        {"title": "Boot 1"},
    ]
    assert records[0].key == b"s0"


def test_the_catalogue_comes_in_both_forms_and_partly_malformed(settings):
    mixture = ("--batch-share", "0.2", "--batch-rows", "10", "--malformed", "0.05")
    said = run(settings, "--catalogue", "200", *mixture, "--compression", "lz4")
    assert said.exit_code == 0, said.output
    assert "200 candidates, 10 malformed" in said.stdout
    records, found, rejected = in_topic(settings)
    assert len(found) == 200
    assert len(rejected) == 10
    n_batched = sum(bool(records[at].headers) for at in found.record)
    assert 20 <= n_batched <= 44


def test_a_source_is_needed_and_only_one(settings, items):
    assert run(settings).exit_code == 2
    assert run(settings, *items, "--catalogue", "3").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "error"), [(("absent.parquet",), DataUnusable), (("--catalogue", "1"), SettingsError)]
)
def test_what_cannot_be_read_or_sent_is_an_error_with_an_exit_code(settings, arguments, error):
    absent = settings.topics.model_copy(update={"input": "absent"})
    said = run(settings.model_copy(update={"topics": absent}), *arguments)
    assert isinstance(said.exception, error)
    assert said.exception.exit_code in {65, 78}


def test_help_shows_examples(settings):
    said = run(settings, "--help").output
    assert "sluice produce items.parquet --id sku" in said
    assert "sluice produce --catalogue 3000" in said
