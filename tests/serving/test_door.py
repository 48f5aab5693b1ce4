"""The HTTP door on its real stages, without an engine: the arithmetic scorer scores 1.5 for the text 150."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from actors.bundle import Bundle
from pipeline.serving import door
from pipeline.serving.server import server
from pipeline.serving.service import DRAINING, STARTING, Service
from tests.fakes import PoisonScorer
from tests.serving.local import service_on

SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/v1/score",
    "raw_path": b"/v1/score",
    "query_string": b"",
    "headers": [],
    "http_version": "1.1",
    "scheme": "http",
    "server": ("door", 80),
    "client": ("caller", 1),
}
"""Of a request as the server hands it on."""


def candidates(*texts: object) -> dict[str, Any]:
    return {
        "candidates": [
            {"candidate_id": f"c-{at}", "query": "q", "document": str(text)} for at, text in enumerate(texts)
        ]
    }


@pytest.fixture
def service(bundle: Bundle) -> Service:
    return service_on(bundle, requests={"max_bytes": 4096, "max_candidates": 20, "max_chars": 9})


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(door.app(service)) as opened:
        yield opened


def test_each_candidate_gets_a_verdict_in_the_request_s_order(client: TestClient, bundle: Bundle) -> None:
    answer = client.post("/v1/score", json=candidates(250, 150, 50))
    assert answer.status_code == 200
    assert answer.json()["bundle"] == answer.headers["sluice-bundle"] == bundle.digest
    found = answer.json()["verdicts"]
    assert [one["candidate_id"] for one in found] == ["c-0", "c-1", "c-2"]
    assert [one["action"] for one in found] == ["prune", "review", "pass"]
    assert [one["score"] for one in found] == [2.5, 1.5, 0.5]
    assert {one["bundle"] for one in found} == {bundle.digest}
    assert {(one["prune_threshold"], one["review_threshold"]) for one in found} == {(2.0, 1.0)}
    assert "score;dur=" in answer.headers["server-timing"]


def test_what_cannot_be_scored_is_rejected_alone_with_the_stream_s_reason(client: TestClient) -> None:
    good, bad = candidates(150, "9" * 10, "", PoisonScorer.NOT_A_NUMBER, PoisonScorer.RAISES), [7, {}]
    found = client.post("/v1/score", json={"candidates": good["candidates"] + bad}).json()["verdicts"]
    assert found[0]["action"] == "review"
    assert [(one["candidate_id"], one["reason"], one["stage"]) for one in found[1:]] == [
        ("c-1", "text_too_long", "COMPOSE"),
        ("c-2", "empty_text", "COMPOSE"),
        ("c-3", "score_not_finite", "SCORE"),
        ("c-4", "scoring_failed", "SCORE"),
        (None, "wrong_type", "DECODE"),
        (None, "missing_field", "DECODE"),
    ]


def test_nothing_is_answered_with_nothing(client: TestClient) -> None:
    assert client.post("/v1/score", json={"candidates": []}).json()["verdicts"] == []
    assert client.post("/v1/score", json={"candidates": [{}]}).status_code == 200


def test_texts_are_ranked_as_text_embeddings_inference_ranks_them(client: TestClient) -> None:
    asked = {"query": "q", "texts": ["150", "-50", "250"], "truncate": True}
    found = client.post("/rerank", json=asked).json()
    assert [one["index"] for one in found] == [1, 0, 2]
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    assert all(0 <= one["score"] <= 1 and set(one) == {"index", "score"} for one in found)
    raw = client.post("/rerank", json=asked | {"raw_scores": True, "return_text": True}).json()
    assert [(one["score"], one["text"]) for one in raw] == [(0.5, "-50"), (-1.5, "150"), (-2.5, "250")]


@pytest.mark.parametrize("version", ["1", "2"])
def test_documents_are_ranked_as_cohere_ranks_them(client: TestClient, bundle: Bundle, version: str) -> None:
    asked = {"model": "rerank-v3.5", "query": "q", "documents": ["150", {"text": "-50"}, "250"], "top_n": 2}
    found = client.post(f"/v{version}/rerank", json=asked).json()
    assert [one["index"] for one in found["results"]] == [1, 0]
    assert found["results"][0]["relevance_score"] > found["results"][1]["relevance_score"]
    assert "document" not in found["results"][0]
    assert found["id"]
    assert (found["meta"]["api_version"], found["meta"]["bundle"]) == ({"version": version}, bundle.digest)
    full = client.post(f"/v{version}/rerank", json=asked | {"return_documents": True, "top_n": 99}).json()
    assert [one["document"] for one in full["results"]] == [{"text": "-50"}, {"text": "150"}, {"text": "250"}]


def test_of_documents_with_fields_the_named_ones_count(client: TestClient) -> None:
    documents = [{"text": "150", "brand": "Acme"}, {"text": "50", "price": 3}]
    asked = {"query": "q", "documents": documents, "rank_fields": ["text"]}
    assert [one["index"] for one in client.post("/v1/rerank", json=asked).json()["results"]] == [1, 0]
    refused = client.post("/v1/rerank", json=asked | {"rank_fields": None})
    assert (refused.status_code, "documents[1]" in refused.json()["message"]) == (422, True)


def test_a_text_that_has_no_score_refuses_a_ranking(client: TestClient) -> None:
    refused = client.post("/rerank", json={"query": "q", "texts": ["150", ""]})
    assert refused.status_code == 422
    assert refused.json()["error"].startswith("texts[1]: empty_text")


@pytest.mark.parametrize(
    ("path", "body", "code", "said"),
    [
        ("/v1/score", b'{"candidates": [', 400, "Expecting value"),
        ("/v1/score", b"", 400, "cannot be read"),
        ("/v1/score", b'{"candidates": [{"query": 1, "query": 2}]}', 400, "'query' is repeated"),
        ("/v1/score", b'{"candidates": "\\ud800"}', 400, "surrogate"),
        ("/v1/score", b"[]", 422, "the body"),
        ("/v1/score", b"{}", 422, "candidates: Field required"),
        ("/v1/score", b'{"candidates": {}}', 422, "candidates: Input should be a valid list"),
        ("/v1/score", b'{"candidates": [], "top_n": 3}', 422, "top_n: there is no such field"),
        ("/rerank", b'{"query": "q", "texts": []}', 422, "texts: List should have at least 1 item"),
        ("/rerank", b'{"query": 1, "texts": ["1"]}', 422, "query: Input should be a valid string"),
        ("/rerank", b'{"query": "q", "texts": ["1"], "raw_scores": "yes"}', 422, "raw_scores"),
        ("/rerank", b'{"query": "q", "texts": ["1"], "truncation_direction": "left"}', 422, "truncation"),
        ("/v1/rerank", b'{"query": "q", "documents": ["1"], "top_n": 0}', 422, "top_n"),
        ("/v2/rerank", b'{"query": "q", "documents": [1]}', 422, "documents.0"),
    ],
)
def test_a_request_of_another_shape_is_refused_in_one_line(
    client: TestClient, path: str, body: bytes, code: int, said: str
) -> None:
    refused = client.post(path, content=body)
    assert refused.status_code == code
    answer = refused.json()
    assert set(answer) == {"error", "error_type", "message"}
    assert said in answer["message"]
    assert answer["error_type"] == "Validation"


def test_the_payload_is_not_repeated_in_an_error(client: TestClient) -> None:
    refused = client.post("/rerank", json={"query": {"secret": "payload"}, "texts": ["1"]})
    assert "payload" not in refused.text


def test_too_many_candidates_are_refused_before_anything_is_scored(client: TestClient) -> None:
    for path, body in (
        ("/v1/score", candidates(*range(21))),
        ("/rerank", {"query": "q", "texts": ["1"] * 21}),
        ("/v2/rerank", {"query": "q", "documents": ["1"] * 21}),
    ):
        refused = client.post(path, json=body)
        assert (refused.status_code, "at most 20" in refused.json()["message"]) == (422, True)


def test_a_body_that_is_too_large_is_refused_told_or_not(client: TestClient) -> None:
    large = orjson.dumps(candidates("9" * 5000))
    assert client.post("/v1/score", content=large).status_code == 413

    def in_pieces() -> Iterator[bytes]:
        yield from (large[at : at + 1000] for at in range(0, len(large), 1000))

    assert client.post("/v1/score", content=in_pieces()).status_code == 413
    assert client.post("/v1/score", json=candidates(150)).status_code == 200


@pytest.mark.parametrize("offered", [None, "Bearer wrong", "Bearer ", "Basic c2VjcmV0", "Bearer secré"])
def test_without_the_token_only_health_and_readiness_answer(service: Service, offered: str | None) -> None:
    headers = {} if offered is None else {"authorization": offered.encode()}
    with TestClient(door.app(service, token="secret")) as client:
        for path in ("/metrics", "/docs", "/openapi.json"):
            assert client.get(path, headers=headers).status_code == 401
        refused = client.post("/v1/score", content=b"not even JSON", headers=headers)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get("/healthz").status_code == client.head("/readyz").status_code == 200


def test_with_the_token_all_answer_and_nobody_logs_it(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with TestClient(door.app(service, token="secret-token")) as client:
        client.headers["authorization"] = "Bearer secret-token"
        assert client.get("/metrics").status_code == client.get("/docs").status_code == 200
        assert client.post("/v1/score", json=candidates(150)).status_code == 200
    assert "secret-token" not in caplog.text


def test_ready_says_why_not_until_it_is_and_again_while_closing(client: TestClient, service: Service) -> None:
    for reason in (STARTING, DRAINING):
        service.not_ready = reason
        assert (client.get("/readyz").status_code, client.get("/readyz").text) == (503, f"{reason}\n")
        refused = client.post("/v1/score", json=candidates(150))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert client.get("/healthz").status_code == 200
    service.not_ready = None
    assert client.get("/readyz").text == "ready\n"


def test_an_unknown_place_is_refused_in_the_same_shape(client: TestClient) -> None:
    refused = client.get("/v1/scores")
    assert (refused.status_code, refused.json()["error_type"]) == (404, "NotFound")
    wrong = client.get("/v1/score")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert client.post("/v1/score/", json=candidates(1)).status_code == 404
    assert "sluice-bundle" in refused.headers


def test_the_page_shows_every_shape(client: TestClient) -> None:
    page = client.get("/openapi.json").json()
    assert set(page["paths"]) == {
        "/v1/score",
        "/rerank",
        "/v1/rerank",
        "/v2/rerank",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    shape = page["paths"]["/rerank"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(shape["properties"]) >= {"query", "texts", "raw_scores", "return_text", "truncate"}
    assert "swagger" in client.get("/docs").text


def test_metrics_tell_requests_pairs_and_batches(client: TestClient) -> None:
    client.post("/v1/score", json=candidates(250, 50, ""))
    client.post("/rerank", content=b"{")
    client.get("/" + "x" * 20)
    text = client.get("/metrics").text
    for line in (
        'sluice_online_requests_total{code="200",path="/v1/score"} 1.0',
        'sluice_online_requests_total{code="400",path="/rerank"} 1.0',
        'sluice_online_requests_total{code="404",path="other"} 1.0',
        'sluice_online_verdicts_total{action="prune"} 1.0',
        'sluice_online_rejects_total{reason="empty_text"} 1.0',
        "sluice_online_scored_pairs_total 2.0",
        "sluice_online_repeated_pairs_total 0.0",
        "sluice_online_padded_tokens_total 2.0",
        "sluice_online_batch_tokens_sum 32.0",
        "sluice_online_waiting_seconds_count 1.0",
        "sluice_online_waiting_tokens 0.0",
        "sluice_online_ready 1.0",
        "sluice_online_replicas 1.0",
    ):
        assert line in text.splitlines()


def test_a_request_whose_caller_has_gone_is_given_up(bundle: Bundle) -> None:
    service = service_on(bundle, 30.0)
    sent: list[Any] = []
    messages: Sequence[dict[str, Any]] = [
        {"type": "http.request", "body": orjson.dumps(candidates(150)), "more_body": False},
        {"type": "http.disconnect"},
    ]
    coming = iter(messages)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.05)
        return next(coming)

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask() -> None:
        await asyncio.wait_for(door.app(service)(SCOPE.copy(), receive, send), 25)
        await asyncio.sleep(0)

    asyncio.run(ask())
    assert sent[0]["status"] == 499
    assert service._judges.n_given_up == 1


@pytest.mark.parametrize("rest", [b"", orjson.dumps(candidates(150))], ids=["arriving", "accepted"])
def test_what_a_closing_door_waits_for_no_more_is_told_to_come_again(
    bundle: Bundle, rest: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A body that was still arriving, or an answer that took longer than the grace, became a 500 and a stack."""
    service = service_on(bundle, 30.0, http={"shutdown_grace_s": 0.1})
    length = len(orjson.dumps(candidates(150)))
    head = f"POST /v1/score HTTP/1.1\r\nHost: door\r\nContent-Length: {length}\r\n\r\n".encode()

    async def ask() -> bytes:
        http = server(door.app(service))
        http.config.timeout_graceful_shutdown = 0
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(http.serve([listener]))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(head + rest)
            while not (http.server_state.tasks and (service._admission.n_requests or not rest)):
                await asyncio.sleep(0.01)
            await service.drained()
            http.should_exit = True
            await serving
            answer = await asyncio.wait_for(reader.read(), 25)
            writer.close()
            return answer

    answer = asyncio.run(ask())
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in answer
    assert "Traceback" not in caplog.text
    assert b'code="503",path="/v1/score"} 1.0' in service.metrics.exposition()
    assert service._admission.n_requests == 0


def test_an_answer_that_nobody_fetches_ends_with_the_door_without_a_stack(service: Service) -> None:
    sent: list[Any] = []
    coming = [{"type": "http.request", "body": orjson.dumps(candidates(150)), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not coming:
            await asyncio.Event().wait()
        return coming.pop()

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def ask() -> None:
        asking = asyncio.create_task(door.app(service)(SCOPE.copy(), receive, send))
        while len(sent) < 2:
            await asyncio.sleep(0.01)
        await service.drained()
        asking.cancel()
        await asyncio.wait_for(asking, 25)

    asyncio.run(ask())
    assert sent == ["http.response.start", "http.response.body"]
