"""What can never connect is refused by name, before a broker is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import certifi
import pytest

from pipeline.errors import SettingsError
from pipeline.kafka.security import check_security

LOGIN = {"sasl_plain_username": "gate", "sasl_plain_password": "hush"}


@pytest.fixture
def nonsense(tmp_path: Path) -> str:
    path = tmp_path / "nonsense.pem"
    path.write_text("no certificate")
    return str(path)


@pytest.mark.parametrize(
    "kafka",
    [
        {},
        {"security_protocol": "PLAINTEXT", "ssl_cafile": "of no use here, and so not looked at"},
        {"security_protocol": "SSL"},
        {"security_protocol": "SSL", "ssl_cafile": certifi.where()},
        {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "ssl_cafile": certifi.where(),
            **LOGIN,
        },
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "GSSAPI"},
        {"proxy_url": "socks5://me:hush@proxy:1080"},
    ],
)
def test_what_can_connect_is_let_through(kafka: dict[str, Any]):
    check_security(kafka)


@pytest.mark.parametrize(
    ("kafka", "setting", "problem"),
    [
        (
            {"security_protocol": "TLS"},
            "security_protocol",
            "one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL",
        ),
        ({"security_protocol": None}, "security_protocol", "not None"),
        ({"security_protocol": "SASL_SSL"}, "sasl_mechanism", "not None"),
        (
            {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM"},
            "sasl_mechanism",
            "SCRAM-SHA-256",
        ),
        ({"security_protocol": "SSL", "ssl_keyfile": "key.pem"}, "ssl_certfile", "is missing"),
        ({"proxy_url": "me:hush@proxy:1080"}, "proxy_url", "must begin with one of http://"),
        ({"socks5_proxy": "me:hush@proxy:1080"}, "socks5_proxy", "must begin with one of http://"),
        ({"proxy_url": "socks5://me:hush@[::"}, "proxy_url", "must name a host and a port"),
        ({"proxy_url": "http://me:hush@proxy:x"}, "proxy_url", "must name a host and a port"),
        (
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_plain_username": "gate"},
            "sasl_plain_password",
            "is missing, where kafka.sasl_mechanism is PLAIN; the environment may hold it: "
            "SLUICE_KAFKA__SASL_PLAIN_PASSWORD",
        ),
        (
            {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "PLAIN",
                **LOGIN,
                "sasl_plain_password": 4711,
            },
            "sasl_plain_password",
            "must be a text: put it into quotes",
        ),
    ],
)
def test_what_can_never_connect_is_refused_by_name(kafka: dict[str, Any], setting: str, problem: str):
    with pytest.raises(SettingsError) as refused:
        check_security(kafka)
    assert refused.value.setting == f"kafka.{setting}"
    assert problem in refused.value.problem
    assert "hush" not in str(refused.value)
    assert "4711" not in str(refused.value)


@pytest.mark.parametrize("name", ["ssl_cafile", "ssl_crlfile", "ssl_certfile"])
def test_a_file_that_is_missing_or_no_certificate_is_named(name: str, nonsense: str):
    """The library tries until its deadline, and says that no broker answered."""
    for path, why in (("/no/such.pem", "No such file"), (nonsense, "")):
        with pytest.raises(SettingsError) as refused:
            check_security({"security_protocol": "SSL", name: path})
        assert refused.value.setting == f"kafka.{name}"
        assert f"{path!r} cannot be used: {why}" in refused.value.problem


def test_a_key_that_is_missing_is_named_as_such(nonsense: str):
    kafka = {"security_protocol": "SSL", "ssl_certfile": nonsense, "ssl_keyfile": "/no/such.key"}
    with pytest.raises(SettingsError, match=r"kafka\.ssl_keyfile: '/no/such.key'"):
        check_security(kafka)
