"""What TLS and SASL need to be there, looked at before a broker is asked.

The library finds out at each connection, tries again, and in the end reports that no broker answered.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from kafka.net.sasl import SASL_MECHANISMS

from pipeline.errors import SettingsError

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_PROXIES = ("http://", "socks5://", "socks5h://")


def check_security(kafka: Mapping[str, Any]) -> None:
    """Refuse what can never connect: an unknown protocol or mechanism, no password, a file that cannot be used.

    Args:
        kafka: Client settings, of those that `client.connection` allows.

    Raises:
        SettingsError: It names the setting, and the file where there is one; never a secret.
    """
    protocol = kafka.get("security_protocol", _PROTOCOLS[0])
    _one_of(_PROTOCOLS, protocol, "kafka.security_protocol")
    if protocol.startswith("SASL"):
        _one_of(tuple(SASL_MECHANISMS), kafka.get("sasl_mechanism"), "kafka.sasl_mechanism")
        _check_login(kafka)
    if protocol.endswith("SSL"):
        _load_files(kafka)
    for name in ("proxy_url", "socks5_proxy"):
        if (proxy := kafka.get(name)) is not None:
            _check_proxy(f"kafka.{name}", str(proxy))


def _one_of(allowed: tuple[str, ...], value: object, setting: str) -> None:
    if value not in allowed:
        raise SettingsError(setting, f"must be one of {', '.join(allowed)}, not {value!r}", "kafka")


def _check_proxy(setting: str, proxy: str) -> None:
    """The library quotes an address that it cannot read, and it may hold a password."""
    if not proxy.startswith(_PROXIES):
        raise SettingsError(setting, f"must begin with one of {', '.join(_PROXIES)}", "kafka")
    try:
        whole = bool((parts := urlsplit(proxy)).hostname and parts.port)
    except ValueError:
        whole = False
    if not whole:
        raise SettingsError(setting, "must name a host and a port, as in socks5://proxy:1080", "kafka")


def _check_login(kafka: Mapping[str, Any]) -> None:
    mechanism: str = kafka["sasl_mechanism"]
    if mechanism != "PLAIN" and not mechanism.startswith("SCRAM"):
        return
    for name in ("sasl_plain_username", "sasl_plain_password"):
        value = kafka.get(name)
        if not value:
            problem = f"is missing, where kafka.sasl_mechanism is {mechanism}; the environment may hold it: "
            raise SettingsError(f"kafka.{name}", f"{problem}SLUICE_KAFKA__{name.upper()}", "kafka")
        if not isinstance(value, str):
            raise SettingsError(f"kafka.{name}", "must be a text: put it into quotes", "kafka")


def _load_files(kafka: Mapping[str, Any]) -> None:
    """Load each file as the library will, to see whether it can be."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    certificate, key = kafka.get("ssl_certfile"), kafka.get("ssl_keyfile")
    if key is not None and certificate is None:
        raise SettingsError("kafka.ssl_certfile", "is missing, where there is a kafka.ssl_keyfile", "kafka")
    for name in ("ssl_cafile", "ssl_crlfile", "ssl_keyfile", "ssl_certfile"):
        path = kafka.get(name)
        if path is None:
            continue
        try:
            with open(path, "rb"):
                pass
            if name == "ssl_certfile":
                # A password that is empty, rather than none: without one OpenSSL would ask the terminal.
                context.load_cert_chain(path, key, kafka.get("ssl_password") or "")
            elif name != "ssl_keyfile":
                context.load_verify_locations(path)
        except (OSError, TypeError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise SettingsError(f"kafka.{name}", f"{path!r} cannot be used: {why}", "kafka") from error
