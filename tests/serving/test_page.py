"""docs/online.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

from starlette.testclient import TestClient

from actors.bundle import Bundle
from pipeline.serving import door, shapes
from tests.serving.local import service_on

PAGE = (Path(__file__).parents[2] / "docs" / "online.md").read_text()
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


def test_the_example_is_a_request_and_its_answer_has_every_field(bundle: Bundle) -> None:
    request, answer = EXAMPLES
    shapes.ScoreRequest.model_validate(request)
    shapes.ScoreAnswer.model_validate(answer)
    request["candidates"][0]["document"] = {"text": "150"}
    with TestClient(door.app(service_on(bundle))) as client:
        given = client.post("/v1/score", json=request).json()
    assert set(given) == set(answer)
    assert list(given["verdicts"][0]) == list(answer["verdicts"][0])


def test_every_status_that_a_route_may_answer_is_explained() -> None:
    explained = {int(code) for code in re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE)}
    assert explained == set(door._ERRORS)


def test_every_route_is_listed(bundle: Bundle) -> None:
    page = door.app(service_on(bundle)).openapi()
    for path, methods in page["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in PAGE
