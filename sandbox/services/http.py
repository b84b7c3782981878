"""HTTP for guests: each hop is checked by name and by address, then sent to that address only.

A name is looked up once, every address of the answer is checked, and the connection goes to one of
them; the name is still what TLS verifies and the server is told. So an answer that changes between
check and use (DNS rebinding) changes nothing. Redirects are followed here and pass the same checks.
Proxies, credentials and certificates of the environment are not used, cookies are not kept, and no
connection is used twice: nothing of one guest's request reaches another's.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Protocol

from sandbox.grant_events import GrantEvent, OnGrant
from sandbox.grants import Grants, HostGrant
from sandbox.host_names import (
    address_of,
    is_link_local,
    network_of,
    pattern_matches,
    why_never,
    why_not_public,
)
from sandbox.services.http_request import HttpLimits, OutgoingRequest, Target, read_request
from sandbox.services.request import HostRequest, Refusal, ServiceError

if TYPE_CHECKING:
    import httpx2

__all__ = ["HttpService", "Resolver", "Send", "system_resolver"]

MOST_ADDRESSES: Final = 64
ADDRESSES_TRIED: Final = 4
THREAD_BYTES: Final = 256 * 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_DROPPED: Final = frozenset(
    {"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"}
)


class Resolver(Protocol):
    """Looks a name up."""

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Addresses of the name. Raises ``OSError`` when there are none."""
        ...


class Send(Protocol):
    """Sends one request to one address, which was checked."""

    async def __call__(
        self, request: httpx2.Request, address: str, stack: AsyncExitStack
    ) -> httpx2.Response:
        """The response, its body not read; what must be closed after it goes onto ``stack``.

        Raises ``httpx2.ConnectError`` or ``httpx2.ConnectTimeout`` when nothing was sent.
        """
        ...


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """What the operating system answers, in its order."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class HttpService:
    """Sends the HTTP requests of guests. Belongs to one event loop.

    ``ssl_context`` is what certificates are verified with; default: the system's authorities.
    ``resolver``, ``send`` and ``clock`` (seconds, monotonic) are for tests.
    """

    def __init__(
        self,
        limits: HttpLimits | None = None,
        *,
        ssl_context: ssl.SSLContext | None = None,
        resolver: Resolver = system_resolver,
        send: Send | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits or HttpLimits()
        self._ssl = ssl_context
        self._resolve = resolver
        self._send = send or self._send_pinned
        self._clock = clock
        self._turns = asyncio.Semaphore(self._limits.concurrent)
        self._waiting = 0

    async def answer(self, request: HostRequest, on_grant: OnGrant) -> bytes:
        """The response as JSON. Raises ``ServiceError``."""
        outgoing = read_request(request.body, self._limits)
        left_s = min(outgoing.timeout_ms / 1000, request.deadline - self._clock())
        if self._waiting >= self._limits.waiting + self._limits.concurrent:
            raise ServiceError(
                Refusal.UNAVAILABLE,
                f"{self._waiting} HTTP requests are under way or waiting; try again later",
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(left_s), self._turns:
                return await self._follow(outgoing, request.grants, on_grant)
        except TimeoutError:
            raise ServiceError(
                Refusal.TIMEOUT,
                f"{outgoing.target.origin} did not answer in full within {int(left_s * 1000)} ms",
            ) from None
        finally:
            self._waiting -= 1

    async def _follow(self, request: OutgoingRequest, grants: Grants, on_grant: OnGrant) -> bytes:
        before: Target | None = None
        for _ in range(self._limits.redirects + 1):
            addresses = await self._admit(request, grants, on_grant, before)
            done = await self._exchange(request, addresses)
            if isinstance(done, bytes):
                return done
            before = request.target
            request = request.redirected(*done)
        raise ServiceError(
            Refusal.FAILED,
            f"more than {self._limits.redirects} redirects; the last leads to "
            f"{request.target.origin}",
        )

    # --- what is granted -------------------------------------------------------------------------

    async def _admit(
        self,
        request: OutgoingRequest,
        grants: Grants,
        on_grant: OnGrant,
        before: Target | None,
    ) -> Sequence[str]:
        """Addresses the request may go to; every use and refusal is told."""
        target = request.target
        what = f"{request.method} {target.origin}"
        try:
            usable = _usable(request, grants, before)
            addresses = await self._addresses(target)
            _check_addresses(target, addresses, usable, grants)
        except ServiceError as error:
            if error.code is Refusal.NOT_GRANTED:
                on_grant(GrantEvent("host", what, allowed=False, reason=error.message))
            raise
        on_grant(GrantEvent("host", what, allowed=True))
        return addresses

    async def _addresses(self, target: Target) -> Sequence[str]:
        if address_of(target.host) is not None:
            return [target.host]
        try:
            addresses = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError):
            addresses = ()
        if not addresses:
            raise ServiceError(Refusal.FAILED, f"the name {target.host} was not found")
        if len(addresses) > MOST_ADDRESSES:
            raise ServiceError(
                Refusal.FAILED,
                f"{target.host} has {len(addresses)} addresses; at most {MOST_ADDRESSES} are "
                "looked at",
            )
        return addresses

    # --- one request -----------------------------------------------------------------------------

    async def _exchange(
        self, request: OutgoingRequest, addresses: Sequence[str]
    ) -> bytes | tuple[int, str]:
        """The answer as JSON, or status and location of a redirect."""
        import httpx2

        try:
            async with AsyncExitStack() as stack:
                response = await self._sent(request, addresses, stack)
                stack.push_async_callback(response.aclose)
                location = response.headers.get("location")
                if response.status_code in _REDIRECTS and location is not None:
                    return response.status_code, location
                body = await self._body(response, request.target)
        except httpx2.TimeoutException:
            raise TimeoutError from None
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            raise ServiceError(Refusal.FAILED, _failure(request.target, error)) from None
        if len(body) > THREAD_BYTES:
            return await asyncio.to_thread(_encoded, response, request.target, body)
        return _encoded(response, request.target, body)

    async def _sent(
        self, request: OutgoingRequest, addresses: Sequence[str], stack: AsyncExitStack
    ) -> httpx2.Response:
        import httpx2

        tried = addresses[:ADDRESSES_TRIED]
        # Each address gets an even part of the time: one that swallows packets must not use it up.
        connect_s = max(1.0, request.timeout_ms / 1000 / len(tried))
        for index, address in enumerate(tried):
            message = httpx2.Request(
                request.method,
                request.target.url,
                headers=request.headers,
                content=request.body or None,
                extensions={"timeout": {"connect": connect_s}},
            )
            try:
                return await self._send(message, address, stack)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if index == len(tried) - 1:
                    raise
        raise AssertionError("there is at least one address")

    async def _send_pinned(
        self, request: httpx2.Request, address: str, stack: AsyncExitStack
    ) -> httpx2.Response:
        import httpx2

        if self._ssl is None:
            self._ssl = await asyncio.to_thread(httpx2.create_ssl_context, trust_env=False)
        transport = httpx2.AsyncHTTPTransport(
            verify=self._ssl,
            trust_env=False,
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=0),
        )
        stack.push_async_callback(transport.aclose)
        pinned = httpx2.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": request.url.host},
        )
        return await transport.handle_async_request(pinned)

    async def _body(self, response: httpx2.Response, target: Target) -> bytes:
        most = self._limits.response_bytes
        codings = response.headers.get("content-encoding", "")
        if "," in codings:
            # Layers multiply what a few bytes can make us decompress.
            raise ServiceError(
                Refusal.FAILED, f"{target.origin} compressed its response more than once"
            )
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > most:
                raise ServiceError(
                    Refusal.TOO_LARGE,
                    f"the response of {target.origin} is larger than {most} bytes",
                )
        return bytes(body)


def _usable(request: OutgoingRequest, grants: Grants, before: Target | None) -> list[HostGrant]:
    """The grants that admit the request by its name. Raises ``ServiceError`` (``not_granted``)."""
    target = request.target
    way = f"the redirect from {before.origin} to " if before is not None else ""
    for pattern in grants.denied_hosts:
        if pattern_matches(pattern, target.host):
            raise _not_granted(f"{way}{target.host} is denied by {pattern}")
    named = [grant for grant in grants.hosts if grant.names(target.host)]
    if not named:
        raise _not_granted(f"{way}{target.host} is not a granted host")
    usable, reasons = [], []
    for grant in named:
        reason = grant.why_not(request.method, target.scheme, target.port)
        if reason is None:
            usable.append(grant)
        else:
            reasons.append(reason)
    if not usable:
        raise _not_granted(f"{way}{request.method} {target.origin}: {reasons[0]}")
    downgraded = before is not None and before.scheme == "https" and target.scheme == "http"
    if downgraded and not any(grant.scheme == "http" for grant in usable):
        raise _not_granted(f"{way}{target.origin} leaves https; only a grant of http allows it")
    return usable


def _check_addresses(
    target: Target, addresses: Sequence[str], usable: Sequence[HostGrant], grants: Grants
) -> None:
    """Every address must be public, or private by a grant. Raises ``ServiceError``."""
    private = any(grant.private for grant in usable)
    for text in addresses:
        address = address_of(text)
        if address is None:
            raise _not_granted(f"{target.host} has an address that cannot be checked")
        for pattern in grants.denied_hosts:
            if pattern != "*" and pattern_matches(pattern, str(address)):
                raise _not_granted(f"{target.host} is {address}, which is denied by {pattern}")
        what = why_not_public(address)
        if what is None:
            continue
        if why_never(address) is not None:
            raise _not_granted(f"{target.host} is {address}, a {what} address")
        if not private:
            raise _not_granted(
                f"{target.host} is {address}, a {what} address; only a grant with private allows it"
            )
        if is_link_local(address) and not any(
            grant.private and _names_link_local(grant.host, text) for grant in usable
        ):
            raise _not_granted(
                f"{target.host} is {address}, a link-local address; only a private grant of that "
                "address allows it"
            )


def _names_link_local(pattern: str, address: str) -> bool:
    network = network_of(pattern)
    if network is not None and not is_link_local(network.network_address):
        return False
    return pattern != "*" and pattern_matches(pattern, address)


def _not_granted(message: str) -> ServiceError:
    return ServiceError(
        Refusal.NOT_GRANTED, f"{message}. See permissions.network.allow of the policy"
    )


def _failure(target: Target, error: Exception) -> str:
    """What went wrong, without what a library may have quoted of the request."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate of {target.origin} is not valid: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    return f"the request to {target.origin} failed ({type(error).__name__})"


def _encoded(response: httpx2.Response, target: Target, body: bytes) -> bytes:
    answer: dict[str, object] = {
        "status": response.status_code,
        "url": str(target.url),
        "headers": {
            name: value for name, value in response.headers.items() if name.lower() not in _DROPPED
        },
    }
    try:
        text = json.dumps(body.decode(), ensure_ascii=False)
    except UnicodeDecodeError:
        text = ""
    # Text of control characters grows sixfold in JSON: as base64 it stays bounded.
    if text and len(text) <= len(body) * 3 // 2 + 64:
        head = json.dumps(answer, ensure_ascii=False)
        return f'{head[:-1]}, "body": {text}}}'.encode()
    answer["body_base64"] = base64.b64encode(body).decode("ascii")
    return json.dumps(answer, ensure_ascii=False).encode()
