"""The online door on Ray Serve: two deployments, and the process that listens.

    callers ─► door (this process: HTTP, admission) ─► Prepare (replicas) ─► Score (replicas, min..max)

The door is the driver, not one of Serve's own proxies: those answer 500 when the replica behind them dies, and
what waits can be bounded only where all of it goes through. A Score replica gathers from what several callers
sent. Everything here is Ray; what is done with a request is in `pipeline.serving`, which Ray is given.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from actors.bundle import Bundle
from actors.tokens import Tokens
from pipeline import bundles
from pipeline.records import Candidates
from pipeline.runner import start_ray
from pipeline.serving import door
from pipeline.serving.errors import DoorFailed
from pipeline.serving.server import server
from pipeline.serving.service import STARTING, Service
from pipeline.serving.settings import ServeSettings
from pipeline.serving.stages import Preparing, Scoring
from pipeline.serving.values import Judged, Scored, Unavailable

logger = logging.getLogger(__name__)

_HEALTH_CHECK_S = 2.0
_QUIET = {"log_level": "WARNING", "enable_access_log": False}
_SILENT = {
    "ray.serve": logging.WARNING,
    "uvicorn": logging.WARNING,
    "ray._private.worker": logging.ERROR,  # it warns that signals stay as they are, which is what is wanted
}


class Score:
    """Serve's view of a replica that scores."""

    def __init__(self, settings: ServeSettings) -> None:
        self._scoring = Scoring(settings)

    async def score(self, tokens: Tokens) -> Scored | Unavailable:
        """Score the pairs of one request."""
        return await self._scoring.score(tokens)

    def check_health(self) -> None:
        """Raises once the scorer is broken: Serve then replaces this replica."""
        if self._scoring.broken is not None:
            raise RuntimeError(self._scoring.broken)


class Prepare:
    """Serve's view of a replica that prepares."""

    def __init__(self, settings: ServeSettings, score: DeploymentHandle) -> None:
        self._score = score
        self._preparing = Preparing.open(settings, score=self._send_on)

    async def judge(self, candidates: Candidates) -> Judged | Unavailable:
        """Prepare the candidates of one request, and have them scored."""
        return await self._preparing.judge(candidates)

    async def _send_on(self, tokens: Tokens) -> Scored | Unavailable:
        scored: Scored | Unavailable = await _answer(self._score.score.remote(tokens))
        return scored


def application(settings: ServeSettings) -> serve.Application:
    """The whole application, not yet deployed."""
    pool, scaling = settings.pool, settings.scaling
    score = serve.deployment(Score).options(
        ray_actor_options={"num_cpus": pool.cpus_per_replica, "num_gpus": pool.gpus_per_replica},
        max_ongoing_requests=scaling.max_ongoing_requests,
        autoscaling_config={
            "min_replicas": pool.min_replicas,
            "max_replicas": pool.max_replicas,
            "target_ongoing_requests": scaling.target_ongoing_requests,
            "upscale_delay_s": scaling.upscale_delay_s,
            "downscale_delay_s": scaling.downscale_delay_s,
            "look_back_period_s": scaling.look_back_s,
        },
        health_check_period_s=_HEALTH_CHECK_S,
    )
    prepare = serve.deployment(Prepare).options(
        ray_actor_options={"num_cpus": pool.cpus_per_prepare},
        num_replicas=pool.prepare_actors,
        # It holds a request until it is scored; the door bounds how many there are.
        max_ongoing_requests=100_000,
        health_check_period_s=_HEALTH_CHECK_S,
    )
    return prepare.bind(settings, score.bind(settings))


class Replicas:
    """The application as the door asks it; on a cluster once it is deployed.

    Args:
        settings: Of the door.
        bundle: What it scores with, as it was opened here.
        handle: Of an application that is deployed already.
    """

    def __init__(
        self, settings: ServeSettings, bundle: Bundle, *, handle: DeploymentHandle | None = None
    ) -> None:
        # Replicas that found another bundle at the same place would score with it.
        self._settings = settings.model_copy(update={"bundle": bundles.pin(settings.bundle, bundle.digest)})
        self._handle = handle

    async def judge(self, candidates: Candidates) -> Judged | Unavailable:
        """Prepare and score the candidates of one request; gives them up when it is cancelled."""
        if self._handle is None:
            return Unavailable("nothing is deployed yet")
        judged: Judged | Unavailable = await _answer(self._handle.judge.remote(candidates))
        return judged

    def deploy(self) -> None:
        """Join the cluster, or start Ray here, and deploy the application. Blocks for some seconds.

        Raises:
            DoorFailed: Ray says no.
        """
        for name, level in _SILENT.items():
            logging.getLogger(name).setLevel(level)
        try:
            start_ray(self._settings.of_a_gate)
            serve.start(proxy_location="Disabled", logging_config=_QUIET)
            if self._settings.name in serve.status().applications:
                serve.delete(
                    self._settings.name
                )  # of a predecessor that was killed: its bundle may be another
            target = serve.RunTarget(
                target=application(self._settings),
                name=self._settings.name,
                route_prefix=None,
                logging_config=_QUIET,
            )
            (self._handle,) = serve.run_many([target], wait_for_applications_running=False)
        except Exception as error:  # Ray raises nothing narrower where it does not start
            raise DoorFailed(f"nothing can be deployed: {_last_line(error)}") from error

    def remove(self) -> None:
        """Take the application from the cluster, and leave that. Blocks for some seconds, at most for a minute."""
        try:
            if self._handle is not None:
                serve.delete(self._settings.name)
        except (RayError, RayServeException, TimeoutError) as error:
            # What was accepted is answered all the same, and a successor removes what is left.
            logger.warning("the replicas may still be there: %s", _last_line(error))
        finally:
            ray.shutdown()


async def _answer(response: DeploymentResponse) -> Any:  # noqa: ANN401 - whatever the replica gives
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise
    except (RayError, RayServeException) as error:
        return Unavailable(_last_line(error))


def _last_line(error: Exception) -> str:
    """What happened; what comes before it is Ray's own stack, over several processes, and after it its advice."""
    happened = str(error).strip().rpartition("\n")[2].partition(". ")[0]
    return f"{type(error).__name__}: {happened}"


def run(settings: ServeSettings, bundle: Bundle, *, token: str | None) -> None:
    """Run a door until SIGTERM or SIGINT; what was accepted is answered. Blocks.

    Args:
        settings: Of the door.
        bundle: What it scores with.
        token: Bearer token to ask for; None asks for none.

    Raises:
        SettingsError: The address cannot be listened on.
        DoorFailed: No replica got warm in time.
    """
    with _listening(settings) as listener:
        asyncio.run(_run(settings, bundle, token, listener))


async def _run(settings: ServeSettings, bundle: Bundle, token: str | None, listener: socket.socket) -> None:
    replicas = Replicas(settings, bundle)
    service = Service(replicas, bundle, settings)
    http = server(door.app(service, token=token))
    stopping = asyncio.Event()
    _stop_on_signals(stopping)
    serving = asyncio.create_task(http.serve([listener]))
    keeping = asyncio.create_task(service.keep_ready())
    host, port = listener.getsockname()[:2]
    logger.info("door open at http://%s:%s", f"[{host}]" if ":" in host else host, port)
    deploying = _in_thread(replicas.deploy)
    try:
        await _until_stopped(stopping, deploying, service, start_s=settings.scaling.start_s)
        logger.info("closing: answering what was accepted")
        await service.drained()
    finally:
        keeping.cancel()
        http.should_exit = True
        await serving
        # What is being deployed at a signal has to be there before it can be taken away.
        await asyncio.wait({deploying}, timeout=settings.http.shutdown_grace_s if stopping.is_set() else 0)
        if deploying.done():
            await asyncio.to_thread(replicas.remove)


def _stop_on_signals(stopping: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)


async def _until_stopped(
    stopping: asyncio.Event, deploying: asyncio.Future[None], service: Service, *, start_s: float
) -> None:
    """Wait for the end; a door that is not ready for the first time within `start_s` has failed."""
    began = time.monotonic()
    while not stopping.is_set() and service.not_ready == STARTING:
        # Again and again: at some time in its start Ray puts a handler before ours that prints a stack and aborts.
        _stop_on_signals(stopping)
        if deploying.done():
            deploying.result()
        if time.monotonic() - began > start_s:
            raise DoorFailed(f"no replica was warm within {start_s:g} s")
        await asyncio.sleep(0.1)
    _stop_on_signals(stopping)
    await stopping.wait()


def _in_thread(work: Callable[[], None]) -> asyncio.Future[None]:
    """Do it in a thread that the process does not wait for when it ends: Ray waits long for a cluster.

    The thread stays: Linux ends what Ray has started on this machine with the thread that started it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def do() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised where the future is read
            loop.call_soon_threadsafe(done.set_exception, error)
        else:
            loop.call_soon_threadsafe(done.set_result, None)
            threading.Event().wait()

    threading.Thread(target=do, name="deploy", daemon=True).start()
    return done


@contextmanager
def _listening(settings: ServeSettings) -> Iterator[socket.socket]:
    http = settings.http
    v6 = ":" in http.host
    family = socket.AF_INET6 if v6 else socket.AF_INET
    try:
        listener = socket.create_server(
            (http.host, http.port),
            family=family,
            backlog=2048,
            dualstack_ipv6=v6 and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        said = f"cannot listen on {http.host}, port {http.port}: {error.strerror}"
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            raise settings.refuse("http.port", f"{said}; 0 takes a free port") from error
        raise settings.refuse("http.host", f"{said}; name an address of this machine") from error
    with listener:
        yield listener
