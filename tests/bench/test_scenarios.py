from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.scenarios import Bench, Figures, run


def trickle(bench: Bench) -> Figures:
    raise AssertionError("was not asked for")


def test_a_scenario_that_does_not_exist_is_named_with_those_that_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It was looked for once the broker had started."""
    monkeypatch.setattr(sys, "argv", ["stream", "tickle"])
    with pytest.raises(SystemExit) as ended:
        run((trickle,), tmp_path / "stream.json", about=None, aims={})
    assert ended.value.code == 2
    assert "there is no scenario tickle; there are trickle" in capsys.readouterr().err


@pytest.mark.parametrize(("scale", "rows"), [(1.0, 1200), (0.05, 60), (0.0001, 1)])
def test_rows_are_scaled_and_never_none(scale: float, rows: int) -> None:
    assert Bench("127.0.0.1:1", Path("b"), scale).n(1200) == rows
