"""What every command does with its options first."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commands.options import settings_from
from pipeline.errors import SettingsError


def test_a_setting_of_the_client_is_refused_with_the_place_that_it_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said `from kafka`, wherever it came from."""
    path = tmp_path / "gate.yaml"
    path.write_text("bundle: b\nkafka: {bootstrap_servers: 'a:1', group_id: mine}\n")
    with pytest.raises(SettingsError, match=r"kafka\.group_id: is not yours to set") as refused:
        settings_from(path, [])
    assert refused.value.source == str(path)

    with pytest.raises(SettingsError) as refused:
        settings_from(None, ["bundle=b", "kafka.bootstrap_servers=a:1", "kafka.security_protocol=TLS"])
    assert (refused.value.setting, refused.value.source) == ("kafka.security_protocol", "--set")

    monkeypatch.setenv("SLUICE_KAFKA__NONSENSE", "1")
    with pytest.raises(SettingsError) as refused:
        settings_from(None, ["bundle=b", "kafka.bootstrap_servers=a:1"])
    assert refused.value.source == "SLUICE_KAFKA__NONSENSE"
