"""A request's body, within its limits and of its shape, or a refusal that says what is wrong with it.

Promises that at most one chunk beyond the limits is ever held, of one body and of all together; that no error
repeats what the body holds, but for the beginning of a name; and that problems are looked for until the first is
found: a body may hold millions.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from pipeline.codec.decode_json import parse_json
from pipeline.errors import InputError
from pipeline.serving.errors import Kind, Refusal, caller_gone
from pipeline.serving.settings import Requests

Shape = TypeVar("Shape", bound=BaseModel)

_NAME_CHARS = 100
"""Of a name in an error, as of a repeated key."""


class Bodies:
    """The bodies that are arriving.

    Args:
        limits: What they may be.
    """

    def __init__(self, limits: Requests) -> None:
        self._limits = limits
        self._held_bytes = 0

    async def read(self, request: Request, shape: type[Shape]) -> Shape:
        """Read one body.

        Args:
            request: Whose body was not touched.
            shape: What it has to be.

        Returns:
            The body, as the shape has it.

        Raises:
            Refusal: 400, 408, 413, 415, 422, 429 or 499.
        """
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            said = "the body is compressed; send it as it is, without Content-Encoding"
            raise Refusal(415, Kind.VALIDATION, said)
        try:
            async with asyncio.timeout(self._limits.deadline_s):
                body = await self._body(request)
        except TimeoutError as error:
            raise Refusal(408, Kind.TIMEOUT, "the body did not arrive in time; send it again") from error
        except ClientDisconnect as error:
            raise caller_gone() from error
        try:
            content = parse_json(body)
            _refuse_unknown(content, shape)
            return shape.model_validate(content)
        except InputError as problem:
            raise Refusal(400, Kind.VALIDATION, f"the body cannot be read: {problem.detail}") from problem
        except ValidationError as error:
            raise Refusal(422, Kind.VALIDATION, _first_problem(error)) from error

    async def _body(self, request: Request) -> bytes:
        """All of the body; at most one chunk beyond the limits is ever held."""
        limits = self._limits
        said = f"the body is larger than {limits.max_bytes} bytes; send fewer candidates at a time"
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limits.max_bytes:
            raise Refusal(413, Kind.VALIDATION, said)
        chunks: list[bytes] = []
        n_bytes = 0
        try:
            async for chunk in request.stream():
                chunks.append(chunk)
                n_bytes += len(chunk)
                self._held_bytes += len(chunk)
                if n_bytes > limits.max_bytes:
                    raise Refusal(413, Kind.VALIDATION, said)
                if self._held_bytes > limits.max_held_bytes:
                    raise Refusal(
                        429, Kind.OVERLOADED, "too many requests arrive at once; try again in 1 s", 1
                    )
        finally:
            self._held_bytes -= n_bytes
        return b"".join(chunks)


def _refuse_unknown(content: object, shape: type[BaseModel]) -> None:
    """Refuse names that the shape does not have; the shape itself would list each of them."""
    if isinstance(content, dict):
        unknown = next((name for name in content if name not in shape.model_fields), None)
        if unknown is not None:
            raise Refusal(422, Kind.VALIDATION, f"{unknown[:_NAME_CHARS]}: there is no such field")


def _first_problem(error: ValidationError) -> str:
    """The first problem, with its place; never the value that has it."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the body"
    return f"{place}: {first['msg']}"
