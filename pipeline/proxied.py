"""The online door as an application of Ray Serve, for whoever deploys by a Serve config: KubeRay's RayService.

    callers ─► Serve's proxies ─► Door (HTTP, admission) ─► Prepare (replicas) ─► Score (replicas, min..max)

HTTP, answers, settings and replicas are those of `sluice serve`; here Serve's proxies listen, and Serve replaces
the door as it does any replica. Price: a request that is in a door when that dies is answered 500, and each door
bounds what waits for itself alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from pipeline import bundles
from pipeline.online import Replicas, application
from pipeline.serving import door
from pipeline.serving.service import Service
from pipeline.serving.settings import ServeSettings, take_token
from pipeline.settings import checked
from pipeline.settings_sources import Sources


@serve.ingress()
class Door:
    """Serve's view of the door."""

    def __init__(self, settings: ServeSettings, prepare: DeploymentHandle) -> None:
        bundle = bundles.open_bundle(settings)
        self._service = Service(Replicas(settings, bundle, handle=prepare), bundle, settings)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The door's HTTP; Serve calls it once, after the constructor."""
        doors = door.app(self._service, token=take_token())
        doors.router.lifespan_context = self._kept_ready
        return doors

    @asynccontextmanager
    async def _kept_ready(self, _: FastAPI) -> AsyncIterator[None]:
        keeping = asyncio.create_task(self._service.keep_ready())
        yield
        keeping.cancel()


def build(arguments: dict[str, Any]) -> serve.Application:
    """The whole application: what a Serve config names as its `import_path`, with its `args`.

    Serve calls it once per deployment of the config, on the cluster. Blocks while an address is fetched.

    Args:
        arguments: The settings of the door, as configs/serve.yaml has them; those of `http` and `ray` are Serve's.

    Returns:
        The application, with one replica of the door, unless the config says otherwise of the deployment `Door`.

    Raises:
        SettingsError: A name or value is wrong.
        BundleRefused: The bundle cannot be used.
    """
    settings = checked(ServeSettings, Sources(Path("args of the Serve config"), arguments))
    # All replicas score with the bundle that is there now, or not at all.
    digest = bundles.open_bundle(settings).digest
    settings = settings.model_copy(update={"bundle": bundles.pin(settings.bundle, digest)})
    deployed = serve.deployment(Door).options(
        name="Door",
        ray_actor_options={"num_cpus": settings.pool.cpus_per_prepare},
        max_ongoing_requests=100_000,  # the door itself bounds what waits
    )
    return deployed.bind(settings, application(settings))
