"""Between the calls of the REST API and the HTTP library: settings, requests, answers, failures."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from caxton.api.exchange import Answer, Call, error_of
from caxton.errors import CaxtonError, NodeUnreachable, Timeout, ValidationError

if TYPE_CHECKING:
    import httpx2

__all__ = [
    "async_stream",
    "checked_url",
    "client_settings",
    "http_answer",
    "http_request",
    "stream",
    "transport_failure",
]

CONNECT_S: Final = 5.0
IDLE_S: Final = 30.0
"""How long an idle connection is kept; the node keeps it longer."""
CONNECTIONS: Final = 100


def checked_url(url: str) -> str:
    """``url`` without its last slash; raises ``ValidationError`` when it is none."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValidationError(
            field="url", value=url, allowed="such as http://127.0.0.1:7878, or https"
        )
    return url.rstrip("/")


def client_settings(url: str) -> dict[str, Any]:
    """Arguments of an HTTP client of the node at ``url``."""
    import httpx2

    settings: dict[str, Any] = {
        "base_url": url,
        "headers": {"Accept": "application/json"},
        "limits": httpx2.Limits(max_connections=CONNECTIONS, keepalive_expiry=IDLE_S),
        # A proxy of the environment cannot reach what is loopback here.
        "trust_env": urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1"),
    }
    if url.startswith("http:"):
        # Loading the trusted certificates takes 35 ms, and nothing here uses them.
        settings["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return settings


def http_request(call: Call) -> dict[str, Any]:
    """Arguments of the request that a call stands for."""
    import httpx2

    given: dict[str, Any] = {
        "timeout": httpx2.Timeout(call.timeout_s, connect=min(call.timeout_s, CONNECT_S))
    }
    if call.query:
        given["params"] = dict(call.query)
    if call.headers:
        given["headers"] = dict(call.headers)
    if call.body is not None:
        given["content"] = call.body
        given["headers"] = {"Content-Type": "application/json", **call.headers}
    return given


def http_answer(response: httpx2.Response) -> Answer:
    """What came back."""
    media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    after = response.headers.get("retry-after", "")
    return Answer(response.status_code, media, response.content, after)


def transport_failure(error: Exception, url: str, timeout_s: float) -> CaxtonError:
    """What a transport's failure means: nobody there, or no answer in time."""
    import httpx2

    if isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout):
        return Timeout(what=f"answer from {url}", timeout_ms=round(timeout_s * 1_000))
    connected = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
    reason = str(error) or type(error).__name__
    return NodeUnreachable(url=url, reason=reason, connected=connected)


def stream(http: httpx2.Client, call: Call, url: str) -> Iterator[bytes]:
    """What a request answers, as it arrives.

    Raises:
        CaxtonError: the node refused it.
        NodeUnreachable: the connection broke; what came so far is not all.
    """
    import httpx2

    try:
        with http.stream(call.method, call.path, **http_request(call)) as response:
            if response.status_code != 200:
                response.read()
                raise error_of(http_answer(response), url)
            yield from response.iter_bytes()
    except httpx2.RequestError as error:
        raise transport_failure(error, url, call.timeout_s) from error


async def async_stream(http: httpx2.AsyncClient, call: Call, url: str) -> AsyncGenerator[bytes]:
    """What a request answers, as ``stream``."""
    import httpx2

    try:
        async with http.stream(call.method, call.path, **http_request(call)) as response:
            if response.status_code != 200:
                await response.aread()
                raise error_of(http_answer(response), url)
            async for piece in response.aiter_bytes():
                yield piece
    except httpx2.RequestError as error:
        raise transport_failure(error, url, call.timeout_s) from error
