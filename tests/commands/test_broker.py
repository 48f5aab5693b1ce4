"""`sluice broker` says where it answers, ends with 0 when told to, and refuses with an error a script can use."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys

import pytest
import typer
from kafka import KafkaAdminClient

from pipeline.commands.broker import broker
from pipeline.errors import PortTaken, SettingsError

COMMAND = [
    sys.executable,
    "-c",
    "import typer; from pipeline.commands.broker import broker; typer.run(broker)",
]


@pytest.mark.kafka
def test_runs_until_a_signal_and_ends_with_zero(tmp_path):
    command = [*COMMAND, "--port", "0", "--data", str(tmp_path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = json.loads(process.stdout.readline())
        with KafkaAdminClient(bootstrap_servers=said["bootstrap_servers"]) as admin:
            assert admin.list_topics() == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert said["data"] == str(tmp_path)
    host, _, port = said["bootstrap_servers"].partition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("before", ["SIG_IGN", "default_int_handler"])
def test_either_signal_ends_it_without_an_error_whatever_was_done_about_it_before(number, before):
    """In a process of its own: what other tests have loaded into this one does not bear every signal."""
    ends = f"""
import signal
from pipeline.commands.broker import _until_interrupted

signal.signal({number:d}, signal.{before})
with _until_interrupted():
    signal.raise_signal({number:d})
    raise SystemExit("it goes on")
assert signal.getsignal({number:d}) is signal.{before}
"""
    ended = subprocess.run([sys.executable, "-c", ends], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_taken_port_is_an_error_with_an_exit_code(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(PortTaken) as raised:
        broker(port=other.getsockname()[1], data=tmp_path)
    assert raised.value.exit_code == 69


def test_ports_that_there_are_not_are_a_wrong_call(tmp_path):
    """The second broker's port ended in an OverflowError."""
    with pytest.raises(typer.BadParameter, match="up to 65536"):
        broker(port=65535, brokers=2, data=tmp_path)


def test_a_folder_that_cannot_be_made_is_an_error_with_an_exit_code(tmp_path):
    """It was a traceback, as where the user's cache may not be written to."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="data: cannot be written to: Not a directory") as raised:
        broker(port=0, data=tmp_path / "file" / "data")
    assert raised.value.exit_code == 78


def test_help_shows_an_example():
    said = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
    assert "sluice broker --port 9092 --brokers 3" in said
