"""A chat-completions server that answers by script: for tests, in process or on a port.

In process: ``OpenAIProvider(settings, transport=stub.transport())``. On a port: ``async with
stub.serving() as url``. Each request takes the next reply; the last one repeats. A reply is a text,
a ``Reply``, or a ``Fault``. ``requests`` keeps the bodies that came in.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route


@dataclass
class Reply:
    """One answer of the model."""

    text: str = ""
    calls: Sequence[tuple[str, Mapping[str, Any] | str]] = ()
    """Tool calls: name and arguments."""
    usage: Mapping[str, Any] | None = field(
        default_factory=lambda: {"prompt_tokens": 10, "completion_tokens": 5}
    )
    stream: bool | None = None
    """None: as the request asks. False: in one piece whatever it asks."""
    break_after: int | None = None
    """Events after which the connection breaks."""
    finish: str = "stop"


@dataclass
class Fault:
    """An answer that is none."""

    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = '{"error": {"message": "overloaded"}}'
    content_type: str = "application/json"


class StubLlm:
    """The server. ``key`` is the one it accepts; none accepts all."""

    def __init__(self, *replies: str | Reply | Fault, key: str = "") -> None:
        self.replies: list[str | Reply | Fault] = list(replies) or ["ok"]
        self.key = key
        self.requests: list[dict[str, Any]] = []
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
                Route("/v1/models", self._models),
            ]
        )

    def transport(self) -> Any:
        """A transport that reaches it without a network."""
        import httpx2

        return httpx2.ASGITransport(self.app)

    async def _models(self, _request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "stub", "object": "model"}]})

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        given = request.headers.get("authorization", "")
        if self.key and given != f"Bearer {self.key}":
            told = {"error": {"message": f"Incorrect API key provided: {given[7:]}"}}
            return JSONResponse(told, 401)
        self.requests.append(body)
        step = self.replies[min(len(self.requests), len(self.replies)) - 1]
        if isinstance(step, Fault):
            return PlainTextResponse(
                step.body, step.status, dict(step.headers), media_type=step.content_type
            )
        reply = Reply(step) if isinstance(step, str) else step
        streamed = body.get("stream", False) if reply.stream is None else reply.stream
        if streamed:
            return StreamingResponse(self._events(reply), media_type="text/event-stream")
        return JSONResponse(self._whole(reply))

    def _whole(self, reply: Reply) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
        if reply.calls:
            message["tool_calls"] = [
                {"id": f"c{index}", "type": "function", "function": _function(name, arguments)}
                for index, (name, arguments) in enumerate(reply.calls)
            ]
        finish = "tool_calls" if reply.calls else reply.finish
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return _with_usage({"id": "x", "model": "stub-1", "choices": [choice]}, reply)

    async def _events(self, reply: Reply) -> AsyncIterator[bytes]:
        chunks: list[dict[str, Any]] = [_delta({"role": "assistant", "content": ""})]
        chunks += [_delta({"content": part}) for part in _parts(reply.text)]
        for index, (name, arguments) in enumerate(reply.calls):
            function = _function(name, arguments)
            head = {"index": index, "id": f"c{index}", "type": "function"}
            chunks.append(
                _delta({"tool_calls": [{**head, "function": {"name": name, "arguments": ""}}]})
            )
            chunks += [
                _delta({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
                for part in _parts(function["arguments"])
            ]
        chunks.append(_delta({}, "tool_calls" if reply.calls else reply.finish))
        if reply.usage is not None:
            chunks.append(_with_usage({"model": "stub-1", "choices": []}, reply))
        for number, chunk in enumerate(chunks):
            if number == reply.break_after:
                raise ConnectionResetError("the stub breaks the connection")
            yield b": keep-alive\n\ndata: " + json.dumps(chunk).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port of this machine; gives the base URL."""
        import uvicorn

        config = uvicorn.Config(self.app, port=0, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None
        task = asyncio.create_task(server.serve())
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.should_exit = True
            await task


def _parts(text: str) -> list[str]:
    return [text[at : at + 7] for at in range(0, len(text), 7)]


def _function(name: str, arguments: Mapping[str, Any] | str) -> dict[str, str]:
    text = arguments if isinstance(arguments, str) else json.dumps(dict(arguments))
    return {"name": name, "arguments": text}


def _delta(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": dict(delta), "finish_reason": finish}
    return {"id": "x", "model": "stub-1", "choices": [choice]}


def _with_usage(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    return body if reply.usage is None else {**body, "usage": dict(reply.usage)}
