from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.bundle import Bundle
from pipeline.bundles import open_bundle
from pipeline.errors import BundleRefused, SettingsError
from pipeline.serving.settings import ServeSettings, load_serve, take_token

CONFIG = Path(__file__).parents[2] / "configs" / "serve.yaml"


def test_the_committed_configuration_holds_every_setting_with_its_default() -> None:
    reference = load_serve(CONFIG)
    assert reference.model_dump() == ServeSettings(bundle=reference.bundle).model_dump()
    text = CONFIG.read_text()
    for name, section in ServeSettings.model_fields.items():
        assert f"\n{name}:" in text
        for key, field in getattr(section.annotation, "model_fields", {}).items():
            assert field.description, f"{name}.{key} has no description"
            assert f"  {key}: " in text


def test_the_environment_and_overrides_come_after_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_HTTP__PORT", "9000")
    monkeypatch.setenv("SLUICE_QUEUE__MAX_WAIT_S", "2")
    monkeypatch.setenv("SLUICE_GATE__GROUP", "a gate's, and none of a door's business")
    settings = load_serve(CONFIG, ["http.port=9001"])
    assert (settings.http.port, settings.queue.max_wait_s) == (9001, 2)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("http.token=secret", "http.token: there is no such setting"),
        ("nope=1", "nope: there is no such setting"),
        ("queue.max_wait_s=0", "queue.max_wait_s"),
        ("requests.max_held_bytes=2000", "requests.max_held_bytes must not be below"),
        ("pool.max_replicas=0", "pool.max_replicas"),
        ("name=a b", "name"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(override: str, said: str) -> None:
    with pytest.raises(SettingsError, match=r"--set|serve\.yaml") as refused:
        load_serve(CONFIG, [override])
    assert said in str(refused.value)


def test_the_parts_of_every_door_are_opened_by_the_same_settings() -> None:
    settings = load_serve(CONFIG, ["requests.max_chars=7", "pool.budget_tokens=512", "ray.num_cpus=3"])
    gate = settings.of_a_gate
    assert (gate.bundle, gate.limits.max_chars, gate.pool, gate.ray) == (
        settings.bundle,
        7,
        settings.pool,
        settings.ray,
    )


def test_a_bundle_that_must_not_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleRefused, match=str(tmp_path)):
        open_bundle(ServeSettings(bundle=str(tmp_path)))


def test_a_budget_that_holds_no_pair_is_refused(base_bundle: Bundle) -> None:
    settings = ServeSettings(bundle=str(base_bundle.path))
    assert open_bundle(settings).digest == base_bundle.digest
    small = settings.model_copy(update={"pool": settings.pool.model_copy(update={"budget_tokens": 32})})
    with pytest.raises(SettingsError, match=r"pool\.budget_tokens: 32 tokens hold no pair"):
        open_bundle(small)


def test_the_token_is_taken_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, token in (("s3cret", "s3cret"), ("", None)):
        monkeypatch.setenv("SLUICE_TOKEN", given)
        assert take_token() == token
        assert "SLUICE_TOKEN" not in os.environ
    assert take_token() is None


@pytest.mark.parametrize("given", ["s3cret\n", " ", "two words", "secré", "\udce9"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A door whose token came out of a file, with the line's end, started and let nobody in."""
    monkeypatch.setenv("SLUICE_TOKEN", given)
    with pytest.raises(
        SettingsError, match=r"visible ASCII characters alone.*\(from SLUICE_TOKEN\)"
    ) as refused:
        take_token()
    assert refused.value.exit_code == 78
    assert given.strip() == "" or given not in str(refused.value)
