"""The committed configurations are read by the code that users run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings import Settings, load

CONFIGS = Path(__file__).parents[1] / "configs"


def test_the_reference_configuration_holds_every_setting_with_its_default() -> None:
    reference = load(CONFIGS / "base.yaml")
    assert reference.model_dump() == Settings(bundle=reference.bundle).model_dump()
    text = (CONFIGS / "base.yaml").read_text()
    for name, section in Settings.model_fields.items():
        for field in getattr(section.annotation, "model_fields", {}).values():
            assert field.description, f"{name} has a field without a description"
    for section in type(reference).model_fields.values():
        for key, field in getattr(section.annotation, "model_fields", {}).items():
            assert f"  {field.alias or key}: " in text


@pytest.mark.parametrize("name", ["base.yaml", "local.yaml", "cluster.yaml"])
def test_a_committed_configuration_loads(name: str) -> None:
    load(CONFIGS / name)
