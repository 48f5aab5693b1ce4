from __future__ import annotations

import ast
import inspect
import logging
import warnings

import pytest
import ray
from ray.data import DataContext
from ray.data._internal.execution import streaming_executor_state

from pipeline import ray_data


@pytest.fixture
def adopted(monkeypatch):
    """Ray Data as the runner has it, in this process, and as it was afterwards."""
    logger = logging.getLogger("ray.data")
    monkeypatch.setattr(logger, "level", logger.level)
    monkeypatch.setattr(streaming_executor_state, "ray", ray)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray warns of its own fields as it builds these
        before = DataContext.get_current().copy()
        ray_data.adopt()
        yield DataContext.get_current()
    DataContext._set_current(before)


def waits(monkeypatch, *answers):
    """Let `ray.wait` give these answers, and keep what it was asked."""
    asked = []

    def answer(waitables, **options):
        asked.append(options)
        return answers[len(asked) - 1]

    monkeypatch.setattr(ray, "wait", answer)
    return asked


def test_a_quiet_stream_is_no_failure_and_a_failed_block_is_never_skipped(adopted) -> None:
    assert adopted.target_max_block_size == 1
    assert adopted.execution_no_progress_timeout_s == -1
    assert adopted.max_errored_blocks == 0
    assert adopted.max_consecutive_actor_init_deaths == 3
    assert not adopted.execution_options.preserve_order


def test_the_scheduler_waits_through_ours_and_asks_ray_for_nothing_else(adopted) -> None:
    assert streaming_executor_state.ray.wait is ray_data.wait
    names = ast.walk(ast.parse(inspect.getsource(streaming_executor_state)))
    of_ray = {n.attr for n in names if isinstance(n, ast.Attribute) and getattr(n.value, "id", "") == "ray"}
    assert of_ray == {"wait"}


def test_what_came_first_ends_the_wait_and_company_gets_a_moment(monkeypatch) -> None:
    asked = waits(monkeypatch, (["a"], ["b", "c"]), (["a", "b"], ["c"]))
    assert ray_data.wait("abc", num_returns=3, timeout=0.1, fetch_local=False) == (["a", "b"], ["c"])
    assert asked == [
        {"num_returns": 1, "timeout": 0.1, "fetch_local": False},
        {"num_returns": 3, "timeout": ray_data.GATHER_S, "fetch_local": False},
    ]


def test_where_nothing_came_there_is_no_second_wait(monkeypatch) -> None:
    asked = waits(monkeypatch, ([], ["a", "b"]))
    assert ray_data.wait("ab", num_returns=2, timeout=0.1, fetch_local=False) == ([], ["a", "b"])
    assert len(asked) == 1
