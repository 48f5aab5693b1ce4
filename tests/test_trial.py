from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from pipeline import trial
from pipeline.trial import MAX_PROCESSES, Died, Trial
from tests import deadly
from tests.test_process import ends


def tried(*items: object, limit_s: float = 150.0, item_s: float = 60.0) -> list[object]:
    return Trial(deadly.build, limit_s=limit_s, item_s=item_s)(items)


def test_the_answers_come_in_order_and_from_one_process_elsewhere() -> None:
    answers = tried("pid", 7, None, "pid")
    assert answers[1:3] == [7, None]
    assert answers[0] == answers[3] != os.getpid()


@pytest.mark.parametrize(
    ("deadly_item", "how"), [("abort", "signal 6"), ("exit", "exit code 3"), ("raise", "exit code 1")]
)
def test_an_item_that_ends_its_process_is_named_and_the_others_are_answered(
    deadly_item: str, how: str
) -> None:
    assert tried(1, deadly_item, 2) == [1, Died(how), 2]


def test_an_item_that_hangs_is_given_up_and_the_next_is_answered() -> None:
    assert tried("hang", 2, item_s=5.0) == [Died("no answer within 5.0 s"), 2]


def test_the_last_item_may_be_the_deadly_one() -> None:
    assert tried("exit") == [Died("exit code 3")]


def test_without_items_no_process_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    assert tried() == []


def test_where_so_many_die_the_rest_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MAX_PROCESSES", 2)
    *died, last = tried("exit", "exit", 3)
    assert died == [Died("exit code 3")] * 2
    assert isinstance(last, Died)
    assert "not tried" in last.how


def test_when_the_time_is_over_the_rest_is_not_tried() -> None:
    began = time.monotonic()
    first, hung, last = tried(1, "hang", 3, limit_s=10.0)
    assert time.monotonic() - began < 50
    assert first == 1
    assert "no answer" in hung.how
    assert "not tried" in last.how


def test_where_no_process_can_begin_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MAX_PROCESSES", 1)
    (answer,) = Trial(deadly.build_never, limit_s=60.0)([1])
    assert "not tried" in answer.how


def test_a_large_item_and_its_answer_cross() -> None:
    large = b"x" * (4 << 20)
    assert tried(large) == [large]


def test_what_the_work_prints_is_no_answer(capfd: pytest.CaptureFixture[str]) -> None:
    assert tried("say", 2) == ["say", 2]
    out, err = capfd.readouterr()
    assert (out, "noise on standard output" in err) == ("", True)


def test_no_process_is_left_after_a_trial() -> None:
    (pid,) = tried("pid")
    assert ends(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is asked for on Linux alone")
def test_its_process_dies_with_who_asked_even_when_that_is_killed() -> None:
    program = (
        "from tests import deadly; from pipeline.trial import _Process; process = _Process(); "
        "process.start(deadly.build, 60); print(process.ask('pid', 60), flush=True); process.ask('hang', 60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as asking:
        assert asking.stdout is not None
        pid = int(asking.stdout.readline())
        asking.kill()
    assert ends(pid)


def test_it_needs_no_engine_and_no_model() -> None:
    """Each death costs a start: what the work does not need must not be loaded for it."""
    program = (
        "import sys, pipeline.trial; sys.exit(any(name in sys.modules for name in ('ray', 'torch', 'kafka')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_bound_leaves_room_for_a_few_bad_rows() -> None:
    assert tried(*["exit"] * (MAX_PROCESSES - 1), "fine")[-1] == "fine"
