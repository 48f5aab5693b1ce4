from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.errors import SettingsError
from pipeline.settings import MASK, Settings, load


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a settings file: `write(gate={"group": "a"})`; it names a bundle unless told otherwise."""

    def make(text: str | None = None, **sections: object) -> Path:
        path = tmp_path / "gate.yaml"
        path.write_text(yaml.safe_dump({"bundle": "b", **sections}) if text is None else text)
        return path

    return make


def refusal(path: Path | None, *overrides: str) -> SettingsError:
    with pytest.raises(SettingsError) as refused:
        load(path, overrides)
    assert "\n" not in str(refused.value), "one line"
    assert refused.value.setting in str(refused.value)
    assert refused.value.source in str(refused.value)
    return refused.value


# --- what is read, and from where


def test_the_defaults_let_nobody_prune(write: Callable[..., Path]) -> None:
    settings = load(write())
    assert settings.gate.enforce is False
    assert settings.bundle == "b"


def test_the_later_of_file_environment_and_set_wins_leaf_by_leaf(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(gate={"group": "file", "instance": "file", "run": 1}, kafka={"bootstrap_servers": "a:1"})
    monkeypatch.setenv("SLUICE_GATE__INSTANCE", "environment")
    monkeypatch.setenv("SLUICE_GATE__RUN", "2")
    settings = load(path, ["gate.run=3", "kafka.client_id=me"])
    assert (settings.gate.group, settings.gate.instance, settings.gate.run) == ("file", "environment", 3)
    assert settings.kafka == {"bootstrap_servers": "a:1", "client_id": "me"}


def test_a_refusal_names_the_place_that_the_setting_came_from(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(topics={"input": "a", "prune": "b"})
    monkeypatch.setenv("SLUICE_TOPICS__INPUT", "c")
    settings = load(path, ["topics.review=d"])
    names = ("topics.prune", "topics.input", "topics.review")
    assert [settings.refuse(name, "is absent").source for name in names] == [
        str(path),
        "SLUICE_TOPICS__INPUT",
        "--set",
    ]


def test_a_number_for_a_client_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's settings have no declared type, so that numbers arrived as text and were refused."""
    monkeypatch.setenv("SLUICE_KAFKA__REQUEST_TIMEOUT_MS", "1000")
    monkeypatch.setenv("SLUICE_KAFKA__SASL_PLAIN_PASSWORD", "1000")
    kafka = load(None, ["bundle=b"]).kafka
    assert (kafka["request_timeout_ms"], kafka["sasl_plain_password"]) == (1000, "1000")


def test_no_file_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_BUNDLE", "/b")
    monkeypatch.setenv("SLUICE_KAFKA__BOOTSTRAP_SERVERS", "a:1")
    settings = load(None, ["topics.pass=null", "topics.audit=a"])
    assert settings.kafka == {"bootstrap_servers": "a:1"}
    assert settings.topics.outputs == {
        "prune": "candidates.prune",
        "review": "candidates.review",
        "reject": "candidates.reject",
        "audit": "a",
    }


def test_values_of_set_are_yaml(write: Callable[..., Path]) -> None:
    settings = load(write(), ["gate.enforce=true", "kafka.bootstrap_servers=[a:1, b:2]", "gate.instance='7'"])
    assert settings.gate.enforce is True
    assert settings.kafka["bootstrap_servers"] == ["a:1", "b:2"]
    assert settings.gate.instance == "7"


def test_the_runner_reads_what_the_keeper_wrote(write: Callable[..., Path]) -> None:
    settings = load(write(topics={"pass": None, "audit": "a"}, kafka={"bootstrap_servers": ["a:1"]}))
    read = Settings.model_validate_json(settings.model_dump_json(by_alias=True))
    assert read.model_dump() == settings.model_dump()


def test_nothing_is_changed_once_it_is_read(write: Callable[..., Path]) -> None:
    settings = load(write())
    with pytest.raises(ValueError, match="frozen"):
        settings.gate.group = "b"


def test_secrets_are_masked_wherever_settings_are_shown(write: Callable[..., Path]) -> None:
    kafka = {
        "bootstrap_servers": "a:1",
        "sasl_plain_username": "me",
        "sasl_plain_password": "hush",
        "ssl_password": "hush",
        "proxy_url": "socks5://me:hush@proxy:1080",
    }
    shown = load(write(kafka=kafka)).shown()
    assert "hush" not in str(shown)
    assert shown["kafka"]["sasl_plain_password"] == MASK
    assert shown["kafka"]["sasl_plain_username"] == "me"
    assert "pass" in shown["topics"]


def test_the_transactional_id_is_stable_and_each_instance_s_own(write: Callable[..., Path]) -> None:
    gates = [
        ["gate.group=a"],
        ["gate.group=a", "gate.instance='0'"],
        ["gate.group=a", "gate.instance=b"],
        ["gate.group=a", "gate.instance=b-0"],
        ["gate.group='a:b'"],
        ["gate.group=a-b"],
        ["gate.group=a-b", "gate.instance='0'"],
    ]
    ids = [load(write(), of).transactional_id for of in gates]
    assert ids == [load(write(), of).transactional_id for of in gates]
    assert len(set(ids)) == len(gates)


def test_what_the_gate_may_send_holds_any_reject_and_any_verdict(write: Callable[..., Path]) -> None:
    wide = load(write(), ["limits.max_reject_bytes=10000000"]).limits
    assert wide.max_output_bytes > 3 * 10_000_000
    narrow = load(write(), ["limits.max_reject_bytes=0"]).limits
    assert narrow.max_output_bytes > narrow.max_message_bytes


def test_what_the_defaults_may_send_fits_into_a_topic_as_kafka_makes_it(write: Callable[..., Path]) -> None:
    kafka_s_default = 1_048_588
    assert load(write()).limits.max_batch_bytes <= kafka_s_default


# --- what is refused at start, by the name of the setting and of its source


@pytest.mark.parametrize(
    ("sections", "setting", "says"),
    [
        ({"gaet": {}}, "gaet", "no such setting"),
        ({"gate": {"gruop": "a"}}, "gate.gruop", "no such setting"),
        ({"gate": {"run": "first"}}, "gate.run", "integer"),
        ({"gate": {"group": ""}}, "gate.group", "at least 1 character"),
        ({"gate": {"instance": "a:b"}}, "gate.instance", "pattern"),
        ({"gate": {"instance": ""}}, "gate.instance", "pattern"),
        ({"gate": {"instance": ".."}}, "gate.instance", "pattern"),
        ({"gate": {"enforce": "perhaps"}}, "gate.enforce", "boolean"),
        ({"gate": {"max_prune_share": 1.5}}, "gate.max_prune_share", "less than or equal to 1"),
        ({"gate": {"max_prune_share": 0}}, "gate.max_prune_share", "greater than 0"),
        ({"gate": {"start": "middle"}}, "gate.start", "'earliest' or 'latest'"),
        ({"gate": {"on_lost": "ignore"}}, "gate.on_lost", "'stop' or 'skip'"),
        ({"gate": []}, "gate", "valid dictionary"),
        ({"topics": {"prune": "candidates"}}, "topics", "feed itself"),
        ({"topics": {"prune": "same", "review": "same"}}, "topics", "share one topic"),
        ({"topics": {"pass": None}}, "topics", "audit"),
        (
            {"publish": {"transaction_timeout_s": 60, "delivery_timeout_s": 60}},
            "publish",
            "transaction_timeout_s (60) must be below delivery_timeout_s (60)",
        ),
        ({"pool": {"min_replicas": 2, "max_replicas": 1}}, "pool", "max_replicas"),
        ({"pool": {"budget_tokens": 1}}, "pool.budget_tokens", "512"),
        ({"claims": {"in_flight_per_replica": 1}}, "claims.in_flight_per_replica", "2"),
        ({"claims": {"drain_s": 0.5}}, "claims.drain_s", "1"),
        ({"http": {"port": 70_000}}, "http.port", "65535"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_setting_in_the_file_is_refused(
    write: Callable[..., Path], sections: dict[str, object], setting: str, says: str
) -> None:
    path = write(**sections)
    refused = refusal(path)
    assert refused.setting == setting
    assert says in refused.problem
    assert refused.source == str(path)
    assert refused.exit_code == 78


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["publish.delivery_timeout_s=12", "publish.transaction_timeout_s=10"], "12 s is below"),
        (["kafka.request_timeout_ms=60001"], "kafka.request_timeout_ms (60001)"),
    ],
)
def test_a_message_that_is_given_up_before_its_request_is_refused(
    write: Callable[..., Path], overrides: list[str], says: str
) -> None:
    """It was refused by the producer, once the runner had started, without the name of a setting."""
    refused = refusal(write(), *overrides)
    assert refused.setting == "publish.delivery_timeout_s"
    assert says in refused.problem
    assert load(write(), ["kafka.request_timeout_ms=60000"]).publish.delivery_timeout_s == 60
    load(write(), ["kafka.request_timeout_ms=soon"])  # no number: for whoever opens a client to refuse


def test_a_message_limit_that_leaves_no_room_for_a_verdict_is_refused(write: Callable[..., Path]) -> None:
    """It was refused by the codec, in each replica, and the gate ended with three failed starts."""
    assert refusal(write(limits={"max_message_bytes": 1000})).setting == "limits.max_message_bytes"
    smallest = load(write(limits={"max_message_bytes": 32 << 10})).limits
    assert smallest.to_codec().max_message_bytes == 32 << 10


def test_a_bundle_has_to_be_named(write: Callable[..., Path]) -> None:
    refused = refusal(write(text="gate: {group: a}"))
    assert (refused.setting, refused.problem) == ("bundle", "Field required")


@pytest.mark.parametrize(
    ("override", "setting", "says"),
    [
        ("gate.gruop=a", "gate.gruop", "no such setting"),
        ("gate.run=x", "gate.run", "integer"),
        ("publish.transaction_timeout_s=90", "publish", "must be below"),
        ("gate.run", "gate.run", "dotted.name=value"),
        ("=1", "=1", "dotted.name=value"),
        (".=1", ".=1", "dotted.name=value"),
        # The broker's answer to such a name was taken for one that may be another in a moment: exit code 75.
        ("topics.input=new candidates", "topics.input", "pattern"),
        ("topics.pass=..", "topics.pass", "pattern"),
        ("gate.run=[", "gate.run", "not YAML"),
        ("bundle=2026-13-45", "bundle", "quotes"),
        ("_env_file=secrets", "_env_file", "no such setting"),
        # JSON, by which the runner is told, has null for it: the keeper started, and its runner refused.
        ("gate.shutdown_grace_s=.inf", "gate.shutdown_grace_s", "finite"),
    ],
)
def test_a_wrong_override_is_refused(
    write: Callable[..., Path], override: str, setting: str, says: str
) -> None:
    refused = refusal(write(), override)
    assert (refused.setting, refused.source) == (setting, "--set")
    assert says in refused.problem


def test_overrides_that_contradict_each_other_are_refused(write: Callable[..., Path]) -> None:
    assert refusal(write(), "gate=1", "gate.run=2").setting == "gate.run"


@pytest.mark.parametrize(
    ("variable", "value", "setting"),
    [
        ("SLUICE_GATE__GRUOP", "a", "gate.gruop"),
        ("SLUICE_GATE__RUN", "x", "gate.run"),
        ("SLUICE_KAFKA", "[1]", "kafka"),  # these two ended in a traceback
        ("SLUICE_KAFKA__CLIENT_ID", "@me", "kafka.client_id"),
    ],
)
def test_a_wrong_variable_is_refused(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, setting: str
) -> None:
    monkeypatch.setenv(variable, value)
    refused = refusal(write())
    assert (refused.setting, refused.source) == (setting, variable)


@pytest.mark.parametrize(
    ("variable", "value", "setting"),
    [
        ("SLUICE_GATE", '{"run": "x"}', "gate.run"),
        ("SLUICE_PUBLISH__TRANSACTION_TIMEOUT_S", "90", "publish"),
    ],
)
def test_a_setting_of_a_section_is_blamed_on_the_variable_that_gave_it(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, setting: str
) -> None:
    """It was blamed on the file, which does not have it."""
    monkeypatch.setenv(variable, value)
    refused = refusal(write())
    assert (refused.setting, refused.source) == (setting, variable)


@pytest.mark.parametrize("section", ["gate", "kafka"])
def test_a_variable_that_is_not_json_is_refused(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    """A section given as one variable, and mistyped, ended the program with a traceback."""
    monkeypatch.setenv(f"SLUICE_{section.upper()}", "{run:")
    refused = refusal(write())
    assert section in refused.problem
    assert refused.source == "SLUICE_*"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gate: [", "not a YAML file"),
        ("- gate", "mapping"),
        ("", "mapping"),
        ("bundle: 2026-13-45", "quotes"),
        ("bundle: !!int b", "quotes"),
        (f"bundle: {'[' * 3000}", "too deep"),
    ],
    ids=["not YAML", "a list", "empty", "no such date", "no number", "deep"],
)
def test_a_file_that_holds_no_settings_is_refused(write: Callable[..., Path], text: str, says: str) -> None:
    path = write(text=text)
    refused = refusal(path)
    assert says in refused.problem
    assert refused.source == str(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused = refusal(tmp_path / "gone.yaml")
    assert "cannot read" in refused.problem
    assert refused.source == str(tmp_path / "gone.yaml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_bytes(b"bundle: \xff")
    assert "not a YAML file" in refusal(path).problem


def test_a_name_that_is_there_twice_is_refused(write: Callable[..., Path]) -> None:
    """The last one won, and what the first one held was lost without a word."""
    path = write(text="bundle: b\ngate: {enforce: true}\ngate: {group: a}\n")
    assert "gate is there twice, line 3" in refusal(path).problem


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[a", "expected ',' or ']', but got '<stream end>'"),
        ("{a: b]", "expected ',' or '}', but got ']'"),
        ("\t", "found character … that cannot start any token"),
        ("*a-'b", 'but found "\'"'),
    ],
)
def test_what_yaml_expected_is_said(text: str, says: str) -> None:
    """What stood between two quoted commas was hidden in their place: `expected ',…]…<stream end>'`."""
    assert says in refusal(None, f"bundle={text}").problem


@pytest.mark.parametrize("name", ["on", "1", "_env_file", "_case_sensitive"])
def test_a_name_that_is_no_setting_is_refused_whatever_yaml_or_pydantic_makes_of_it(
    write: Callable[..., Path], name: str
) -> None:
    """The first two ended in a TypeError, and the others were taken for orders to the library."""
    assert refusal(write(text=f"bundle: b\n{name}: x\n")).problem == "there is no such setting"


@pytest.mark.parametrize(
    "password", ["@hunter2", "hun: ter2: a", "*hunter2", "!hunter2", '"hunter2', "%hunter2"]
)
def test_no_refusal_quotes_what_may_be_a_password(write: Callable[..., Path], password: str) -> None:
    """The line that YAML did not like was shown, and went into the log: a password may begin with an @."""
    setting = "kafka.sasl_plain_password"
    file = write(text=f"bundle: b\nkafka:\n  sasl_plain_password: {password}\n")
    for refused in (
        refusal(file),
        refusal(None, f"{setting}=a{password}: b: c"),
        refusal(None, f"{setting}={{{password}"),
    ):
        assert "YAML" in refused.problem
        assert "ter2" not in str(refused)
