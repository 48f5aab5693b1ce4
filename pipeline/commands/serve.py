"""`sluice serve`: one online door, until it is stopped."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pipeline.commands.options import Config, Overrides, log_to_stderr


def serve(
    *,
    config: Config = None,
    overrides: Overrides = None,
    show_settings: Annotated[bool, typer.Option(help="Print the settings in force and exit.")] = False,
) -> None:
    """Answer scoring and reranking requests until it is stopped.

    `POST /v1/score`, `/rerank` (text-embeddings-inference's shape), `/v1/rerank` and `/v2/rerank` (Cohere's);
    `/docs` is the page. With SLUICE_TOKEN in the environment, a bearer token is asked for. SIGTERM or Ctrl-C:
    what was accepted is answered, exit 0. Exit codes: 69 no cluster or no replica that gets warm, 70 a defect,
    78 settings or bundle.

    Example: `sluice serve -c configs/serve.yaml --set http.port=8080`
    """
    from pipeline.bundles import open_bundle  # noqa: PLC0415
    from pipeline.serving.settings import load_serve, take_token  # noqa: PLC0415

    settings = load_serve(config, overrides or ())
    if show_settings:
        typer.echo(json.dumps(settings.model_dump(mode="json"), indent=2))
        return
    token = take_token()
    log_to_stderr()
    bundle = open_bundle(settings)
    from pipeline.online import run  # noqa: PLC0415 - Ray takes a second to import; a wrong setting is said before

    run(settings, bundle, token=token)
