"""Reading request bodies within limits: size (also after gzip), time, and media type; all of it before parsing."""

import asyncio
import contextlib
import gzip
import io
import zlib
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from framehouse.errors import ContractError, DuplicateKeyError, Problem
from framehouse.events import problems
from ingest.body import MAX_BODY_BYTES, Unreadable, duplicated_keys, elements

READ_SECONDS = 30.0
_DRAIN_BYTES = 64 * 2**20
_DRAIN_SECONDS = 5.0
_PIECE_BYTES = 2**16

M = TypeVar("M", bound=BaseModel)


class BodyError(Exception):
    """A body that is not read: its HTTP status, a stable code, what is wrong and what would be right.

    `is_unread` is false when all of it has come: then nobody has to wait for the rest.
    """

    def __init__(
        self, status: int, code: str, message: str, expected: str, *, is_unread: bool = True
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.expected = expected
        self.is_unread = is_unread


class BadEncodingError(ContractError):
    """The body says that it is gzip and is not; `raw` is what came."""

    code = "bad_encoding"

    def __init__(self, raw: bytes) -> None:
        problem = Problem("", "not gzip", "a body in gzip, or no Content-Encoding")
        super().__init__("the body is not gzip, although Content-Encoding says so", [problem])
        self.raw = raw


async def read_body(request: Request) -> bytes:
    """The body's bytes, unpacked. Raises BodyError for its size, time or type, BadEncodingError for broken gzip."""
    _check_type(request)
    is_packed = _is_packed(request)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        raise _too_large()
    try:
        async with asyncio.timeout(READ_SECONDS):
            raw = await _read(request)
    except TimeoutError:
        raise BodyError(
            408, "too_slow", "the body did not arrive in time", f"within {READ_SECONDS:g} s"
        ) from None
    return await run_in_threadpool(_unpacked, raw) if is_packed else raw


Body = Annotated[bytes, Depends(read_body)]


def parsed(raw: bytes) -> Any:
    """The one JSON value of a body. Raises ContractError for anything else."""
    if raw.lstrip()[:1] == b"[":
        raise ContractError("the body is a list", [Problem("", "a list", "one JSON object")])
    value = elements(raw)[0].value
    if isinstance(value, Unreadable):
        raise ContractError(value.problem.message, [value.problem])
    if twice := duplicated_keys(value):
        raise DuplicateKeyError("the body names a key twice", twice)
    return value


def json_body(model: type[M]) -> Callable[[bytes], M]:
    """A dependency that gives the body as a `model`; what is wrong with it is a ContractError."""

    def read(raw: Body) -> M:
        return understood(model, raw)

    return read


def understood(model: type[M], raw: bytes) -> M:
    """A body as a `model`. Raises ContractError with every bad field."""
    try:
        return model.model_validate(parsed(raw))
    except ValidationError as error:
        raise ContractError("the body does not keep the contract", problems(error)) from None


class LingeringResponse(JSONResponse):
    """An answer given before the body was read.

    The client is still sending. Closing the connection on it would reset it, and most clients then report a broken
    pipe instead of this answer; so what comes is read and thrown away for a while.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        # A client that asked first (Expect: 100-continue) has sent nothing and now will not.
        if not any(name == b"expect" for name, _ in scope["headers"]):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await _drain(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    size, is_more = 0, True
    while is_more and size < _DRAIN_BYTES:
        message = await receive()
        size += len(message.get("body", b""))
        is_more = message["type"] == "http.request" and message.get("more_body", False)


def _check_type(request: Request) -> None:
    """Only JSON: what a form of any web page could send is refused, so that no page can write events."""
    given = request.headers.get("content-type")
    if given is not None:
        kind, _, parameters = given.partition(";")
        charset = parameters.replace(" ", "").replace('"', "").lower()
        if kind.strip().lower() != "application/json" or charset not in {"", "charset=utf-8", "charset=utf8"}:
            raise BodyError(
                415,
                "unsupported_media_type",
                f"the body is {_shown(given)}",
                "Content-Type: application/json",
            )


def _is_packed(request: Request) -> bool:
    given = request.headers.get("content-encoding", "identity").strip().lower()
    if given not in {"identity", "", "gzip", "x-gzip"}:
        raise BodyError(
            415, "unsupported_encoding", f"the body's encoding is {_shown(given)}", "gzip, or none"
        )
    return "gzip" in given


async def _read(request: Request) -> bytes:
    raw = bytearray()
    try:
        async for piece in request.stream():
            raw += piece
            if len(raw) > MAX_BODY_BYTES:
                raise _too_large()
    except ClientDisconnect:
        raise BodyError(400, "incomplete", "the connection ended before the body", "the whole body") from None
    return bytes(raw)


def _unpacked(raw: bytes) -> bytes:
    """What is packed, piece by piece, so that a small body cannot fill the memory."""
    found = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
            while piece := stream.read(_PIECE_BYTES):
                found += piece
                if len(found) > MAX_BODY_BYTES:
                    raise _too_large(is_unread=False)
    except (OSError, EOFError, zlib.error):
        raise BadEncodingError(raw) from None
    return bytes(found)


def _too_large(*, is_unread: bool = True) -> BodyError:
    limit = f"at most {MAX_BODY_BYTES} bytes, unpacked"
    return BodyError(413, "too_large", "the body is too large", limit, is_unread=is_unread)


def _shown(text: str) -> str:
    return repr(text[:100])
