from __future__ import annotations

import ast
import inspect
import json
import logging
import subprocess
import sys
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


@pytest.mark.ray
@pytest.mark.slow
def test_a_flow_that_is_left_early_asks_ray_for_nothing_once_it_has_settled(ray_address: str) -> None:
    """In a process of its own: Ray ends a process that asks it for something while it is shut down."""
    left_early = f"""
import json, threading, ray
from pipeline import ray_data
from pipeline.runner import Items, rows, start_ray
from pipeline.settings import Settings

start_ray(Settings(bundle="none", ray={{"address": {ray_address!r}}}))
ray_data.adopt()
of_ray = set(threading.enumerate())
items = rows(ray.data.read_datasource(Items(lambda: iter(range(100_000))), num_cpus=0, override_num_blocks=1))
next(items)
during = [thread.name for thread in set(threading.enumerate()) - of_ray]
items.close()
ray_data.settle()
print(json.dumps([during, [thread.name for thread in set(threading.enumerate()) - of_ray]]))
"""
    done = subprocess.run([sys.executable, "-c", left_early], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    during, after = json.loads(done.stdout)
    assert len([name for name in during if name.startswith(ray_data._ASKING)]) == len(ray_data._ASKING)
    assert after == ["Prefetcher"], "it is never told to end, and asks for nothing by itself"
