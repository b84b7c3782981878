"""A guest's HTTP request: read, checked, and made anew for each hop of a redirect."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sandbox.errors import InvalidSetting
from sandbox.host_names import host_name
from sandbox.services.json_body import bad_request, read_base64, read_integer, read_object
from sandbox.services.request import Refusal, ServiceError

if TYPE_CHECKING:
    import httpx2

__all__ = ["HttpLimits", "OutgoingRequest", "Target", "read_request", "target_of"]

MIB: Final = 1024 * 1024

FIELDS: Final = ("method", "url", "headers", "body", "body_base64", "timeout_ms")
URL_CHARACTERS: Final = 8_192
HEADERS: Final = 64
HEADER_BYTES: Final = 16 * 1024
USER_AGENT: Final = "caxton-sandbox"

_METHOD: Final = re.compile(r"[A-Za-z][A-Za-z-]{0,31}")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")

_OURS: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
    }
)
# The last three ask a server to do another method than the one that was checked.

_ACROSS_ORIGINS: Final = frozenset(
    {
        "accept",
        "accept-language",
        "cache-control",
        "content-language",
        "content-type",
        "if-modified-since",
        "if-none-match",
        "range",
        "user-agent",
    }
)
# All others may hold a credential (Authorization, Cookie, X-Api-Key and what else is in use).


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds of the HTTP service. Raises ``InvalidSetting`` when one is out of range."""

    request_bytes: int = 10 * MIB
    """Largest request body, in bytes. 0 to 32 MiB; default 10 MiB."""
    response_bytes: int = 10 * MIB
    """Largest response body, decompressed, in bytes. 0 to 24 MiB; default 10 MiB."""
    timeout_ms: int = 10_000
    """Time of a request that does not say, in ms. 1 to 600,000; default 10 s."""
    longest_ms: int = 60_000
    """Longest time a request may ask for, in ms. 1 to 600,000; default 60 s."""
    redirects: int = 5
    """Most redirects followed. 0 to 20; default 5."""
    concurrent: int = 32
    """Requests at the same time. 1 to 1,024; default 32."""
    waiting: int = 256
    """Requests that may wait for their turn. 0 to 100,000; default 256."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("request_bytes", 0, 32 * MIB),
            # As base64 in JSON it still fits into a frame to the worker.
            ("response_bytes", 0, 24 * MIB),
            ("timeout_ms", 1, 600_000),
            ("longest_ms", 1, 600_000),
            ("redirects", 0, 20),
            ("concurrent", 1, 1024),
            ("waiting", 0, 100_000),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InvalidSetting(name, value, f"an integer from {low} to {high}")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: a URL with its host in normal form, without userinfo and fragment."""

    url: httpx2.URL
    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> str:
        """Scheme, host and port; nothing of it is secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme] == self.port
        return f"{self.scheme}://{host}" + ("" if usual else f":{self.port}")


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """One request, ready to be sent. Header names are in lower case."""

    method: str
    target: Target
    headers: dict[str, str]
    body: bytes
    timeout_ms: int

    def redirected(self, status: int, location: str) -> OutgoingRequest:
        """The request that follows a redirect, as fetch does it.

        Across origins only headers that carry no credential are kept.
        Raises ``ServiceError`` (``failed``) for a location that is no URL for a request.
        """
        try:
            target = target_of(str(self.target.url.join(location[:URL_CHARACTERS])))
        except (ServiceError, ValueError, _invalid_url()) as error:
            why = error.message if isinstance(error, ServiceError) else "not a URL"
            raise ServiceError(
                Refusal.FAILED, f"{self.target.origin} redirects to somewhere invalid: {why}"
            ) from None
        method, headers, body = self.method, self.headers, self.body
        if (status == 303 and method not in ("GET", "HEAD")) or (
            status in (301, 302) and method == "POST"
        ):
            method, body = "GET", b""
            headers = {k: v for k, v in headers.items() if not k.startswith("content-")}
        if target.origin != self.target.origin:
            headers = {k: v for k, v in headers.items() if k in _ACROSS_ORIGINS}
        return replace(self, method=method, target=target, headers=headers, body=body)


def read_request(body: bytes, limits: HttpLimits) -> OutgoingRequest:
    """Read and check a request, apart from what is granted. Raises ``ServiceError``."""
    request = read_object(body, FIELDS, limits.request_bytes * 4 // 3 + 256 * 1024)
    method = request.get("method", "GET")
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        raise bad_request("method must be a name such as GET")
    method = method.upper()
    if method in ("CONNECT", "TRACE"):
        raise bad_request(f"method {method} is not possible")
    content = _content(request)
    if len(content) > limits.request_bytes:
        raise ServiceError(
            Refusal.TOO_LARGE,
            f"a body of {len(content)} bytes; at most {limits.request_bytes} are allowed",
        )
    url = request.get("url")
    if not isinstance(url, str):
        raise bad_request("url must be a text")
    default = min(limits.timeout_ms, limits.longest_ms)
    timeout_ms = read_integer(request, "timeout_ms", default, 1, limits.longest_ms)
    headers = _headers(request.get("headers", {}))
    return OutgoingRequest(method, target_of(url), headers, content, timeout_ms)


def target_of(url: str) -> Target:
    """Where a URL leads. Raises ``ServiceError`` (``bad_request``), which never quotes the URL."""
    import httpx2

    if len(url) > URL_CHARACTERS:
        raise bad_request(f"a URL of {len(url)} characters; at most {URL_CHARACTERS} are allowed")
    try:
        parsed = httpx2.URL(url)
        if parsed.scheme not in ("http", "https"):
            raise bad_request("the URL must begin with https:// or http://")
        if parsed.userinfo:
            raise bad_request("the URL holds a user or password; use an Authorization header")
        host = host_name(parsed.raw_host.decode("ascii"))
        port = parsed.port or {"https": 443, "http": 80}[parsed.scheme]
        if parsed.port == 0 or not 1 <= port <= 65_535:
            raise bad_request("the port of the URL must be from 1 to 65535")
        clean = parsed.copy_with(host=host, fragment=None)
    except httpx2.InvalidURL:
        raise bad_request("the URL is not valid") from None
    except (ValueError, UnicodeError) as error:
        raise bad_request(f"the host of the URL is {error}") from None
    return Target(clean, parsed.scheme, host, port)


def _invalid_url() -> type[Exception]:
    import httpx2

    return httpx2.InvalidURL


def _content(request: dict[str, Any]) -> bytes:
    if "body" in request and "body_base64" in request:
        raise bad_request("body and body_base64 are given; one is allowed")
    if "body_base64" in request:
        return read_base64("body_base64", request["body_base64"])
    body = request.get("body", "")
    if not isinstance(body, str):
        raise bad_request("body must be a text; use body_base64 for bytes")
    try:
        return body.encode()
    except UnicodeEncodeError:
        raise bad_request("body holds half a surrogate pair") from None


def _headers(given: object) -> dict[str, str]:
    if not isinstance(given, dict):
        raise bad_request("headers must be an object of texts")
    if len(given) > HEADERS:
        raise bad_request(f"{len(given)} headers; at most {HEADERS} are allowed")
    headers: dict[str, str] = {"user-agent": USER_AGENT}
    seen: set[str] = set()
    total = 0
    for name, value in given.items():
        lower = name.lower()
        if not _HEADER_NAME.fullmatch(name):
            raise bad_request(f"header {name[:80]!r} is not a valid name")
        if lower in _OURS or lower.startswith("proxy-"):
            raise bad_request(f"header {name} cannot be set")
        if lower in seen:
            raise bad_request(f"header {name} is given twice")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise bad_request(f"header {name} must be a text of one line in ASCII")
        seen.add(lower)
        total += len(name) + len(value)
        headers[lower] = value
    if total > HEADER_BYTES:
        raise bad_request(f"{total} bytes of headers; at most {HEADER_BYTES} are allowed")
    # What we can decompress within bounds, whatever was asked for.
    headers["accept-encoding"] = "gzip, deflate"
    return headers
