"""The online door's HTTP: routes, bodies, the bearer token, and what a refusal looks like.

    POST /v1/score                 candidates in, verdicts out
    POST /rerank                   text-embeddings-inference's shape
    POST /v1/rerank, /v2/rerank    Cohere's shape
    GET  /healthz  /readyz         open to all
    GET  /metrics                  Prometheus' text format
    GET  /docs  /openapi.json      the page

Every answer names the bundle in the header `Sluice-Bundle`. Promises that a body beyond its limit is never
held, that a request whose caller has gone is given up, and that what is wrong with a request is said before
anything is scored.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serving import answers, shapes
from pipeline.serving.asked import Asked, asked_to_rank, read_all
from pipeline.serving.body import Bodies
from pipeline.serving.errors import Kind, Refusal, caller_gone
from pipeline.serving.service import DRAINING, Answer, Service

logger = logging.getLogger(__name__)

BUNDLE_HEADER = "sluice-bundle"

Done = TypeVar("Done")

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": shapes.ErrorAnswer, "description": "Not JSON, or a repeated key."},
    401: {"model": shapes.ErrorAnswer, "description": "No bearer token, or another one."},
    408: {"model": shapes.ErrorAnswer, "description": "The body did not arrive in time."},
    413: {"model": shapes.ErrorAnswer, "description": "The body is too large."},
    415: {"model": shapes.ErrorAnswer, "description": "The body is compressed."},
    422: {"model": shapes.ErrorAnswer, "description": "Not of this shape, or too many candidates."},
    429: {"model": shapes.ErrorAnswer, "description": "Too much waits; see Retry-After."},
    503: {"model": shapes.ErrorAnswer, "description": "No replica, or the door is closing."},
    504: {"model": shapes.ErrorAnswer, "description": "No answer within the deadline."},
}


def app(service: Service, *, token: str | None = None) -> FastAPI:
    """The HTTP application.

    Args:
        service: What stands behind it.
        token: Bearer token to ask for; None asks for none.

    Returns:
        An ASGI application.
    """
    doors = FastAPI(
        title="Sluice",
        description=f"Relevance verdicts by bundle {service.bundle.digest}.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    guarded = [Depends(_Guard(token))]
    doors.include_router(_open_routes(service))
    doors.include_router(_page(doors), dependencies=guarded)
    doors.include_router(_metrics(service), dependencies=guarded)
    doors.include_router(_Routes(service).router, dependencies=guarded)
    doors.add_exception_handler(Refusal, _refused)
    doors.add_exception_handler(HTTPException, _not_found)
    doors.add_middleware(_Watched, service=service)
    return doors


class _Guard:
    """Asks for the bearer token, where there is one."""

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else token.encode()

    def __call__(
        self, given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]
    ) -> None:
        if self._token is None:
            return
        offered = b"" if given is None else given.credentials.encode()
        if not hmac.compare_digest(offered, self._token):
            raise Refusal(401, Kind.UNAUTHORIZED, "send the header: Authorization: Bearer <token>")


class _Routes:
    """The routes that score."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._bodies = Bodies(service.settings.requests)
        self.router = APIRouter()
        self._add("/v1/score", self.score, shapes.ScoreRequest, shapes.ScoreAnswer)
        self._add("/rerank", self.rerank, shapes.RerankRequest, list[shapes.Rank])
        for path, route in (("/v1/rerank", self.rerank_v1), ("/v2/rerank", self.rerank_v2)):
            self._add(path, route, shapes.CohereRequest, shapes.CohereAnswer)

    def _add(self, path: str, route: Any, takes: type[BaseModel], gives: object) -> None:  # noqa: ANN401
        """A route that reads its body itself, and is on the page all the same."""
        schema = takes.model_json_schema(ref_template="#/components/schemas/{model}")
        body = {"required": True, "content": {"application/json": {"schema": schema}}}
        responses: dict[int | str, dict[str, Any]] = {200: {"model": gives}, **_ERRORS}
        self.router.add_api_route(
            path,
            route,
            methods=["POST"],
            response_class=Response,
            responses=responses,
            openapi_extra={"requestBody": body},
            summary=(takes.__doc__ or "").partition("\n")[0],
        )

    async def score(self, request: Request) -> Response:
        """A verdict for each candidate, or why it has none."""
        asked = await self._bodies.read(request, shapes.ScoreRequest)
        self._count(len(asked.candidates), "candidates")
        answer = await self._answer(request, read_all(asked.candidates))
        now_ms = time.time_ns() // 1_000_000
        return _json(
            answers.verdicts(asked.candidates, answer.outcomes, self._service.bundle, now_ms), answer
        )

    async def rerank(self, request: Request) -> Response:
        """Texts by relevance to the query, the best first."""
        asked = await self._bodies.read(request, shapes.RerankRequest)
        answer = await self._rank(request, asked.query, asked.texts, name="texts")
        return _json(answers.ranks(asked, answer.outcomes), answer)

    async def rerank_v1(self, request: Request) -> Response:
        """Documents by relevance to the query, the best first."""
        return await self._rerank_cohere(request, version="1")

    async def rerank_v2(self, request: Request) -> Response:
        """Documents by relevance to the query, the best first."""
        return await self._rerank_cohere(request, version="2")

    async def _rerank_cohere(self, request: Request, *, version: str) -> Response:
        asked = await self._bodies.read(request, shapes.CohereRequest)
        answer = await self._rank(
            request, asked.query, asked.documents, name="documents", only=asked.rank_fields
        )
        found = answers.cohere_results(asked, answer.outcomes, self._service.bundle, version=version)
        return _json(found, answer)

    async def _rank(
        self,
        request: Request,
        query: str,
        documents: Sequence[str | dict[str, Any]],
        *,
        name: str,
        only: Sequence[str] | None = None,
    ) -> Answer:
        self._count(len(documents), name)
        template = self._service.bundle.manifest.template
        asked = asked_to_rank(query, documents, template, name=name, only=only)
        return await self._answer(request, asked)

    def _count(self, n: int, name: str) -> None:
        most = self._service.settings.requests.max_candidates
        if n > most:
            raise Refusal(422, Kind.VALIDATION, f"{n} {name}; send at most {most} at a time")

    async def _answer(self, request: Request, asked: Asked) -> Answer:
        return await _unless_gone(request, self._service.answer(asked))


class _Watched:
    """Counts every request, names the bundle in its answer, and refuses what a closing door can wait for no more.

    The server cancels what is left when it ends; it would answer that with 500, and put its stack into the log.
    """

    def __init__(self, inner: ASGIApp, service: Service) -> None:
        self._inner = inner
        self._service = service
        self._named = (BUNDLE_HEADER.encode(), service.bundle.digest.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        began = time.monotonic()
        code, started = 500, False

        async def watched(message: Message) -> None:
            nonlocal code, started
            if message["type"] == "http.response.start":
                code, started = message["status"], True
                message["headers"] = [*message.get("headers", ()), self._named]
            await send(message)

        try:
            await self._inner(scope, receive, watched)
        except asyncio.CancelledError:
            if self._service.not_ready != DRAINING:
                raise
            if not started:  # that the rest of an answer is missing, the server says
                refusal = Refusal(503, Kind.UNHEALTHY, "the door has closed; try again", 1)
                await _error(refusal)(scope, receive, watched)
        finally:
            # The route, not what was asked for: a stranger's paths must not become series.
            path = getattr(scope.get("route"), "path", "other")
            self._service.metrics.answered(path, code, time.monotonic() - began)


def _open_routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", response_class=Response)
    async def healthz() -> Response:
        """200 while the door answers at all."""
        return _text(200, "alive")

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", response_class=Response)
    async def readyz() -> Response:
        """200 while verdicts come; 503 with the reason while they do not."""
        reason = service.not_ready
        return _text(503 if reason else 200, reason or "ready")

    return router


def _metrics(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(service.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _page(doors: FastAPI) -> APIRouter:
    from fastapi.openapi.docs import get_swagger_ui_html  # noqa: PLC0415

    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json")
    async def openapi() -> Response:
        return Response(orjson.dumps(doors.openapi()), media_type="application/json")

    @router.get("/docs")
    async def docs() -> Response:
        return get_swagger_ui_html(openapi_url="openapi.json", title="Sluice")

    return router


async def _unless_gone(request: Request, work: Awaitable[Done]) -> Done:
    """The result of the work, unless the caller goes before: then the work is given up."""
    working = asyncio.ensure_future(work)
    going = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise caller_gone()
    finally:
        for task in (working, going):
            task.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _refused(request: Request, refusal: Exception) -> Response:
    del request
    if not isinstance(refusal, Refusal):
        raise refusal
    return _error(refusal)


async def _not_found(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    said = f"{error.detail}: {request.method} {request.url.path}; /docs shows what there is"
    answer = _error(Refusal(error.status_code, Kind.NOT_FOUND, said))
    answer.headers.update(error.headers or {})  # of a 405: what is allowed
    return answer


def _error(refusal: Refusal) -> Response:
    body = {"error": refusal.said, "error_type": refusal.kind.value, "message": refusal.said}
    headers = {}
    if refusal.retry_after_s is not None:
        headers["retry-after"] = str(refusal.retry_after_s)
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(orjson.dumps(body), refusal.status, headers, "application/json")


def _json(content: object, answer: Answer) -> Response:
    times = (("prepare", answer.prepare_s), ("wait", answer.wait_s), ("score", answer.score_s))
    timing = ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in times)
    return Response(orjson.dumps(content), 200, {"server-timing": timing}, "application/json")


def _text(code: int, text: str) -> Response:
    return Response(f"{text}\n", code, media_type="text/plain")
