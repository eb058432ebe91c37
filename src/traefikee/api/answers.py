"""The one place that maps errors to HTTP answers, and streams of JSON lines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from traefikee import __version__, log
from traefikee.cluster import protocol
from traefikee.errors import RefusedError, Source, TraefikeeError, UnreachableError

LARGEST_BODY = 16 * 1024 * 1024
"""Bytes of a request body that the agent reads; its requests are far smaller."""

_STATUS = {Source.CLIENT: 403, Source.PEER: 503, Source.US: 500}
_KIND_STATUS = {
    "invalid": 400,
    "unknown": 404,
    "superseded": 404,
    "name": 409,
    "address": 409,
    "version": 409,
    "precondition": 412,
    "configuration": 422,
}

_log = log.get("api")


def error_body(error: TraefikeeError) -> dict[str, Any]:
    """Return the JSON form of an error, which :func:`traefikee.cluster.peers.answer_error` reads back."""
    return {"error": error.cause, "next_step": error.next_step, "kind": error.kind, "retriable": error.retriable}


async def on_error(_request: Request, error: Exception) -> Response:
    """Answer a :class:`TraefikeeError` with its status and JSON form."""
    if not isinstance(error, TraefikeeError):
        raise error
    status = _KIND_STATUS.get(error.kind, _STATUS[error.source])
    return JSONResponse(error_body(error), status_code=status)


async def on_missing(request: Request, _error: Exception) -> Response:
    """Answer a path that does not exist."""
    return JSONResponse(
        {"error": f"there is no {request.method} {request.url.path}", "kind": "unknown"}, status_code=404
    )


async def read_body(request: Request, model: type[BaseModel]) -> Any:
    """Read a JSON body into a model, strictly.

    :raises RefusedError: naming every field that is wrong, or that the body is too large.
    :raises UnreachableError: if the client is gone; nobody hears the answer.
    """
    content = await _content(request)
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise _invalid(error, request) from error


async def read_message(request: Request, model: type[BaseModel]) -> Any:
    """Read another node's message: strictly if it is of this version, else without what is not known here.

    :raises RefusedError: as :func:`read_body`.
    """
    content = await _content(request)
    try:
        return protocol.read(model, content, request.headers)
    except ValidationError as error:
        raise _invalid(error, request) from error


async def _content(request: Request) -> bytes:
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > LARGEST_BODY:
                raise RefusedError(f"the request is larger than {LARGEST_BODY} bytes", kind="invalid")
            chunks.append(chunk)
    except ClientDisconnect:
        raise UnreachableError("the client went away", kind="client") from None
    return b"".join(chunks)


def _invalid(error: ValidationError, request: Request) -> RefusedError:
    problems = (f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors())
    theirs, _ = protocol.sender(request.headers)
    step = ""
    if theirs and theirs != __version__:
        step = (
            f"it comes from version {theirs}, and this node is of version {__version__}: use the same version of both"
        )
    return RefusedError("the request is not valid: " + "; ".join(problems), step, kind="invalid")


def lines(steps: AsyncIterator[Mapping[str, Any]]) -> Response:
    """Stream objects as lines of JSON; an error on the way becomes the last line."""

    async def encoded() -> AsyncIterator[bytes]:
        try:
            async for step in steps:
                yield json.dumps(step).encode() + b"\n"
        except TraefikeeError as error:
            yield json.dumps(error_body(error)).encode() + b"\n"

    return StreamingResponse(encoded(), media_type="application/x-ndjson")
