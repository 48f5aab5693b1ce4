"""Each client over TLS and SASL, on a broker that asks for them; and what is said where they do not fit."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion
from typer.testing import CliRunner

from pipeline.cli import app, main
from pipeline.errors import BrokerRefused, BrokerUnreachable, SluiceError
from pipeline.kafka import topics
from pipeline.kafka.embedded import EmbeddedKafka
from pipeline.kafka.member import Assignment, Member
from pipeline.kafka.reader import RangeReader
from pipeline.kafka.sender import Sender
from pipeline.kafka.transaction import TransactionalProducer
from pipeline.records import TopicPartition
from pipeline.settings import load
from tests.certificates import Authority
from tests.messages import batch
from tests.small_gate import settle

pytestmark = pytest.mark.kafka

PASSWORD = "open sesame: #4711"
LOGIN = {"sasl_plain_username": "gate", "sasl_plain_password": PASSWORD}
SCRAM = {"sasl_mechanism": "SCRAM-SHA-256", **LOGIN}
PLAIN = {"sasl_mechanism": "PLAIN", **LOGIN}
WRONG = {"sasl_plain_password": "hunter2"}
KINDS = {"cert": "pem", "key": "key"}
MODULES = "org.apache.kafka.common.security"
SHORT = {"bootstrap_timeout_ms": 3000}


class Secured(NamedTuple):
    """A broker with a listener for each protocol, and one (`MUTUAL`) that asks for the client's certificate."""

    broker: EmbeddedKafka
    folder: Path

    def server(self, listener: str) -> dict[str, Any]:
        """Where it listens."""
        plain = listener == "PLAINTEXT"
        servers = self.broker.bootstrap_servers if plain else self.broker.servers_of(listener)
        return {"bootstrap_servers": servers}

    def ways(self) -> dict[str, dict[str, Any]]:
        """The `kafka:` mapping of each way in that is open to us."""
        trust = {"ssl_cafile": str(self.folder / "authority.pem")}
        ours = {f"ssl_{kind}file": str(self.folder / f"gate.{end}") for kind, end in KINDS.items()}
        sasl, ssl, sasl_ssl = ({"security_protocol": name} for name in ("SASL_PLAINTEXT", "SSL", "SASL_SSL"))
        return {
            "SCRAM": {**self.server("SASL_PLAINTEXT"), **sasl, **SCRAM},
            "PLAIN": {**self.server("SASL_PLAINTEXT"), **sasl, **PLAIN},
            "TLS": {**self.server("SSL"), **ssl, **trust},
            "mutual TLS": {**self.server("MUTUAL"), **ssl, **trust, **ours, "ssl_password": PASSWORD},
            "SCRAM in TLS": {**self.server("SASL_SSL"), **sasl_ssl, **trust, **SCRAM},
            "PLAIN in TLS": {**self.server("SASL_SSL"), **sasl_ssl, **trust, **PLAIN},
        }


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder, "authority")
    authority.sign("gate", password=PASSWORD)
    Authority(folder, "other").sign("stranger")
    plain = f'{MODULES}.plain.PlainLoginModule required user_gate="{PASSWORD}";'
    scram = f"{MODULES}.scram.ScramLoginModule required;"
    listeners = {"SASL_PLAINTEXT": "SASL_PLAINTEXT", "SSL": "SSL", "MUTUAL": "SSL", "SASL_SSL": "SASL_SSL"}
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **listeners}
    properties = {
        "listener.security.protocol.map": ",".join(":".join(one) for one in protocols.items()),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(authority.sign("broker")),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
        "listener.name.mutual.ssl.client.auth": "required",
    }
    for listener in ("sasl_plaintext", "sasl_ssl"):
        properties[f"listener.name.{listener}.plain.sasl.jaas.config"] = plain
        properties[f"listener.name.{listener}.scram-sha-256.sasl.jaas.config"] = scram
    with EmbeddedKafka(listeners=list(listeners), properties=properties) as broker:
        user = UserScramCredentialUpsertion("gate", ScramMechanism.SCRAM_SHA_256, PASSWORD)
        with KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers) as admin:
            assert admin.alter_user_scram_credentials([user]) == {"gate": None}
        made = Secured(broker, folder)
        until_let_in(made.ways()["SCRAM"])
        yield made


def until_let_in(kafka: dict[str, Any]) -> None:
    """Wait until the broker has heard of its user: it answers who made it a moment earlier."""
    deadline = time.monotonic() + 60
    while True:
        try:
            topics.extents(kafka, "t")
        except BrokerRefused:
            assert time.monotonic() < deadline
        else:
            return


WAYS = ["SCRAM", "PLAIN", "TLS", "mutual TLS", "SCRAM in TLS", "PLAIN in TLS"]


@pytest.mark.parametrize("way", WAYS)
def test_all_that_a_gate_does_with_kafka_works(secured: Secured, way: str):
    kafka = secured.ways()[way]
    name = f"t-{WAYS.index(way)}"
    source, target = TopicPartition(name, 0), TopicPartition(f"{name}-out", 0)
    created = topics.create(kafka, [topics.NewTopic(one.topic, 1) for one in (source, target)])
    assert created == [source.topic, target.topic]

    with Sender(kafka, source.topic) as sender:
        sender.send(b"key", b"value")
        sender.confirm()
    with TransactionalProducer(kafka, transactional_id=name) as producer:
        producer.init()
        with closing(Leaving(Member(kafka, group=name, topic=source.topic))) as member:
            assignment = member.assignment()
            assert assignment.positions == {source: 0}
            producer.begin()
            producer.send(target, batch(b"verdict"))
            producer.confirm()
            producer.commit_offsets({source: 1}, assignment.group)
            producer.commit()

    assert topics.committed(kafka, name, source.topic, wait_s=60) == {source: 1}
    with closing(RangeReader(kafka)) as reader:
        for partition, value in ((source, b"value"), (target, b"verdict")):
            read = reader.read(partition, 0, 1, max_records=1, max_bytes=100)
            assert [record.value for record in read.records] == [value]


class Leaving(NamedTuple):
    """A member that leaves its group when it is closed."""

    member: Member

    def assignment(self) -> Assignment:
        """The first one."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if (assignment := self.member.poll(0.05)) is not None and assignment.positions:
                return assignment
        raise AssertionError("nothing was assigned")

    def close(self) -> None:
        self.member.close(leave=True)


@pytest.fixture
def config(secured: Secured, tmp_path: Path) -> Callable[..., Path]:
    """Write a settings file: `config("TLS")`, with the password left to the environment."""

    def write(way: str, **kafka: object) -> Path:
        mapping = {**secured.ways()[way], **kafka}
        mapping.pop("sasl_plain_password", None)
        routes = {name: f"cli.{name}" for name in ("input", "prune", "review", "pass", "reject")}
        path = tmp_path / "settings.json"  # JSON is YAML
        path.write_text(
            json.dumps({"bundle": "none", "kafka": mapping, "topics": routes, "http": {"port": 1}})
        )
        return path

    return write


def test_the_commands_work_with_the_password_from_the_environment(config, monkeypatch):
    monkeypatch.setenv("SLUICE_KAFKA__SASL_PLAIN_PASSWORD", PASSWORD)
    path = config("SCRAM in TLS")

    def sluice(*words: str) -> str:
        said = CliRunner().invoke(app, [*words, "-c", str(path)])
        assert said.exit_code == 0, said.output
        return said.stdout

    sluice("topics", "create", "--partitions", "1")
    sluice("produce", "--catalogue", "20")
    assert json.loads(sluice("status", "--json"))["lag"] == 20
    settle(load(path))
    assert json.loads(sluice("status", "--json"))["lag"] == 0
    assert json.loads(sluice("reconcile", "--json"))["closed"] is True


@pytest.mark.parametrize(
    ("way", "change", "because"),
    [
        ("SCRAM", WRONG, "invalid credentials with SASL mechanism SCRAM-SHA-256"),
        ("PLAIN in TLS", WRONG, "Invalid username or password"),
        ("SCRAM in TLS", {"sasl_plain_username": "nobody"}, "invalid credentials"),
        ("SCRAM", {"sasl_mechanism": "SCRAM-SHA-512"}, "it does not offer the SASL mechanism SCRAM-SHA-512"),
        ("TLS", {"ssl_cafile": "other.pem"}, "not trusted: unable to get local issuer certificate"),
        ("TLS", {"ssl_cafile": None}, "not trusted: unable to get local issuer certificate"),
        (
            "mutual TLS",
            {"ssl_certfile": None, "ssl_keyfile": None},
            "TLS failed: TLSV13_ALERT_CERTIFICATE_REQUIRED",
        ),
        ("mutual TLS", {"ssl_certfile": "stranger.pem", "ssl_keyfile": None}, "TLS failed: "),
    ],
)
def test_what_the_broker_refuses_is_said_at_once(secured: Secured, way: str, change: dict, because: str):
    """The library tried again until its deadline, and said that no broker answered."""
    files = {name: str(secured.folder / file) for name, file in change.items() if str(file).endswith(".pem")}
    patient = {"bootstrap_timeout_ms": 100_000}
    began = time.monotonic()
    with pytest.raises(BrokerRefused) as refused:
        topics.extents({**secured.ways()[way], **change, **files, **patient}, "t")
    assert time.monotonic() - began < 50
    assert because in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_name_that_the_certificate_does_not_hold_is_refused(secured: Secured):
    kafka = secured.ways()["TLS"]
    by_name = kafka["bootstrap_servers"].replace("127.0.0.1", "localhost")
    with pytest.raises(BrokerRefused, match="certificate is not valid for 'localhost'"):
        topics.extents({**kafka, "bootstrap_servers": by_name}, "t")
    either = [by_name, kafka["bootstrap_servers"]]
    assert topics.extents({**kafka, "bootstrap_servers": either}, "absent") == {}


@pytest.mark.parametrize(
    "open_it",
    [
        lambda kafka: Sender(kafka, "t"),
        lambda kafka: TransactionalProducer(kafka, transactional_id="t"),
        lambda kafka: Member(kafka, group="t", topic="t", instance="a"),
        lambda kafka: RangeReader(kafka).read(TopicPartition("t", 0), 0, 1, max_records=1, max_bytes=1),
        lambda kafka: topics.create(kafka, []),
        lambda kafka: topics.committed(kafka, "t", "t"),
    ],
    ids=["sender", "producer", "member", "reader", "create", "committed"],
)
def test_every_client_says_that_the_password_is_wrong(secured: Secured, open_it: Callable[[Any], object]):
    with pytest.raises(BrokerRefused, match="Authentication failed"):
        open_it({**secured.ways()["SCRAM in TLS"], **WRONG})


@pytest.mark.parametrize(
    ("protocol", "listener", "kind"),
    [
        ("PLAINTEXT", "SSL", BrokerRefused),
        ("PLAINTEXT", "SASL_PLAINTEXT", BrokerUnreachable),
        ("SSL", "PLAINTEXT", BrokerUnreachable),
        ("SSL", "SASL_SSL", BrokerUnreachable),
        ("SASL_PLAINTEXT", "SASL_SSL", BrokerRefused),
        ("SASL_PLAINTEXT", "PLAINTEXT", BrokerRefused),
    ],
)
def test_another_protocol_than_the_port_s_is_named(
    secured: Secured, protocol: str, listener: str, kind: type[SluiceError]
):
    """One that only hangs up may be shutting down: that is tried until the deadline."""
    ways = {"PLAINTEXT": {}, "SSL": secured.ways()["TLS"], "SASL_PLAINTEXT": secured.ways()["SCRAM"]}
    patience = {} if kind is BrokerRefused else SHORT
    kafka = {**ways[protocol], **secured.server(listener), **patience}
    with pytest.raises(kind, match=protocol) as said:
        topics.extents(kafka, "t")
    assert "kafka.security_protocol" in str(said.value)


@pytest.mark.parametrize(
    ("way", "change", "exit_code"),
    [
        ("SCRAM in TLS", {}, 77),
        ("TLS", {"security_protocol": "PLAINTEXT"}, 77),
        ("SCRAM", {"security_protocol": "SSL", **SHORT}, 69),
        ("TLS", {"ssl_cafile": "/no/such.pem"}, 78),
    ],
)
def test_a_person_sees_one_line_without_the_password(config, monkeypatch, capfd, way, change, exit_code):
    monkeypatch.setenv("SLUICE_KAFKA__SASL_PLAIN_PASSWORD", "hunter2")
    monkeypatch.setattr(sys, "argv", ["sluice", "status", "-c", str(config(way, **change))])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == exit_code
    said = capfd.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("sluice: ")
    assert "hunter2" not in said.err
