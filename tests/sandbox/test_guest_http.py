"""HTTP of guests: real servers on the loopback, and names that lie about where they lead."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import tls_pem

from sandbox.grant_events import GrantEvent
from sandbox.grants import Grants, HostGrant
from sandbox.services.http import HttpService
from sandbox.services.http_request import HttpLimits
from sandbox.services.request import HostRequest, Refusal, Service, ServiceError

Reply = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """An HTTP/1.1 server that answers each connection once, with bytes a test chose."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self._replies: dict[str, bytes | Reply] = {}
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        """Listen on a free port of the loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and wait for what is under way."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    def on(self, path: str, reply: bytes | Reply) -> None:
        """What to answer for a path."""
        self._replies[path] = reply

    def json(self, path: str, status: str = "200 OK", **headers: str) -> None:
        """Answer ``{}``."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self.on(path, f"HTTP/1.1 {status}\r\n{lines}content-length: 2\r\n\r\n{{}}".encode())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
            self.bodies.append(await reader.readexactly(int(length or 0)))
            path = head.split(" ")[1].partition("?")[0]
            reply = self._replies.get(path, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(head, writer)
        except (OSError, asyncio.IncompleteReadError):
            # The client went away, which is what some tests are about.
            self.heads.append("gone")
        finally:
            writer.close()
            self._open.discard(task)


@dataclass
class Guest:
    """A guest with some hosts granted."""

    grants: Grants
    service: HttpService
    events: list[GrantEvent] = field(default_factory=list)

    async def ask(self, url: str, wall_s: float = 30, **request: Any) -> dict[str, Any]:
        """The response to one request."""
        body = json.dumps({"url": url, **request}).encode()
        answer = await self.service.answer(
            HostRequest(Service.HTTP, b"", body, self.grants, time.monotonic() + wall_s),
            self.events.append,
        )
        found: dict[str, Any] = json.loads(answer)
        return found

    async def refused(self, url: str, **request: Any) -> ServiceError:
        """The refusal of one request."""
        with pytest.raises(ServiceError) as error:
            await self.ask(url, **request)
        return error.value


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A plain HTTP server."""
    made = Server()
    await made.start()
    yield made
    await made.close()


def local(server: Server, limits: HttpLimits | None = None, **grant: Any) -> Guest:
    """A guest that may speak to the server."""
    grant = {"port": server.port, "scheme": "http", "private": True, **grant}
    hosts = (HostGrant("127.0.0.1", **grant), HostGrant("localhost", **grant))
    return Guest(Grants(hosts=hosts), HttpService(limits))


class Names:
    """A resolver whose answers a test writes, one a question, and the addresses sent to."""

    def __init__(
        self, answers: dict[str, list[list[str]]], responses: list[httpx2.Response]
    ) -> None:
        self.asked: list[str] = []
        self.sent: list[tuple[str, httpx2.Request]] = []
        self._answers = answers
        self._responses = responses

    async def resolve(self, host: str, _port: int) -> Sequence[str]:
        """The next answer for a name."""
        self.asked.append(host)
        answers = self._answers.get(host)
        if not answers:
            raise OSError(host)
        return answers.pop(0)

    async def send(
        self, request: httpx2.Request, address: str, _stack: AsyncExitStack
    ) -> httpx2.Response:
        """The next response."""
        self.sent.append((address, request))
        response = self._responses.pop(0)
        if response.status_code == 599:
            raise httpx2.ConnectError("refused")
        return response

    def guest(self, *hosts: HostGrant, denied: tuple[str, ...] = ()) -> Guest:
        """A guest that lives among these names."""
        service = HttpService(resolver=self.resolve, send=self.send)
        return Guest(Grants(hosts=hosts, denied_hosts=denied), service)


def ok(body: bytes = b"ok") -> httpx2.Response:
    """A response, not read yet."""
    return httpx2.Response(200, content=body)


def redirect(location: str, status: int = 302) -> httpx2.Response:
    """A redirect."""
    return httpx2.Response(status, headers={"location": location})


class TestExchange:
    """What goes out and what comes back, with a real server."""

    async def test_a_request_and_its_response(self, server: Server) -> None:
        """Method, path, query, headers and body arrive; status, headers and text return."""
        server.on(
            "/echo",
            b"HTTP/1.1 201 Created\r\ncontent-type: text/plain\r\nX-Two: a\r\nX-Two: b\r\n"
            b"content-length: 4\r\n\r\n\xc3\xa9ok",
        )
        guest = local(server)
        url = f"http://127.0.0.1:{server.port}/echo?a=%C3%A9&b#fragment"
        found = await guest.ask(url, method="put", headers={"X-Mine": "1"}, body="ümlaut")
        assert found == {
            "status": 201,
            "url": f"http://127.0.0.1:{server.port}/echo?a=%C3%A9&b",
            "headers": {"content-type": "text/plain", "x-two": "a, b"},
            "body": "éok",
        }
        head = server.heads[0].lower()
        assert head.startswith("put /echo?a=%c3%a9&b http/1.1\r\n")
        for line in (f"host: 127.0.0.1:{server.port}", "x-mine: 1", "content-length: 7"):
            assert f"\r\n{line}\r\n" in head
        assert server.bodies == ["ümlaut".encode()]
        assert [(e.kind, e.what, e.allowed) for e in guest.events] == [
            ("host", f"PUT http://127.0.0.1:{server.port}", True)
        ]

    async def test_bytes_travel_as_base64(self, server: Server) -> None:
        """Both ways; a body of control characters too, which JSON would blow up."""
        server.on("/b", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\xff\x00\xfe")
        server.on("/nul", b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n" + bytes(900))
        guest = local(server)
        url = f"http://127.0.0.1:{server.port}"
        found = await guest.ask(f"{url}/b", method="POST", body_base64="AP8=")
        assert found["body_base64"] == base64.b64encode(b"\xff\x00\xfe").decode()
        assert server.bodies == [b"\x00\xff"]
        assert (await guest.ask(f"{url}/nul"))["body_base64"] == base64.b64encode(
            bytes(900)
        ).decode()

    async def test_nothing_of_the_environment_is_used(
        self, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """No proxy, no password file; and a cookie that was set is not sent."""
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login u password p")
        monkeypatch.setenv("NETRC", str(netrc))
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        server.json("/", set_cookie="a=b")
        guest = local(server)
        for _ in range(2):
            await guest.ask(f"http://127.0.0.1:{server.port}/")
        for head in server.heads:
            assert "cookie" not in head.lower()
            assert "authorization" not in head.lower()

    async def test_a_compressed_response_is_read(self, server: Server) -> None:
        """As text, without the header that would say otherwise."""
        for path, packed in (
            ("/gzip", gzip.compress(b"hello")),
            ("/deflate", zlib.compress(b"hello")),
        ):
            head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {path[1:]}\r\n"
            server.on(path, f"{head}content-length: {len(packed)}\r\n\r\n".encode() + packed)
            found = await local(server).ask(f"http://127.0.0.1:{server.port}{path}")
            assert (found["body"], found["headers"]) == ("hello", {})

    async def test_bombs_end_at_the_limit(self, server: Server) -> None:
        """50 MB out of 50 kB; and no layers of compression, which multiply."""
        bomb = gzip.compress(bytes(50_000_000))
        for path, coding in (("/one", "gzip"), ("/two", "gzip, gzip")):
            head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\n"
            server.on(path, f"{head}content-length: {len(bomb)}\r\n\r\n".encode() + bomb)
        guest = local(server, HttpLimits(response_bytes=100_000))
        one = await guest.refused(f"http://127.0.0.1:{server.port}/one")
        two = await guest.refused(f"http://127.0.0.1:{server.port}/two")
        assert (one.code, two.code) == (Refusal.TOO_LARGE, Refusal.FAILED)

    async def test_an_endless_response_ends_at_the_limit(self, server: Server) -> None:
        """Whatever length it claims."""
        gone = asyncio.Event()

        async def flood(_: str, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while True:
                    writer.write(bytes(65_536))
                    await writer.drain()
            except OSError:
                gone.set()

        server.on("/", flood)
        guest = local(server, HttpLimits(response_bytes=100_000))
        error = await guest.refused(f"http://127.0.0.1:{server.port}/")
        assert error.code is Refusal.TOO_LARGE
        async with asyncio.timeout(30):
            await gone.wait()

    @pytest.mark.parametrize("where", ["head", "body"])
    async def test_a_slow_response_ends_at_the_deadline(self, server: Server, where: str) -> None:
        """One that trickles as well: the time is for the whole of it."""
        never = asyncio.Event()

        async def trickle(_: str, writer: asyncio.StreamWriter) -> None:
            if where == "body":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome")
                await writer.drain()
            await never.wait()

        server.on("/", trickle)
        guest = local(server)
        for bound in ({"timeout_ms": 150}, {"wall_s": 0.15}):
            begun = time.monotonic()
            error = await guest.refused(f"http://127.0.0.1:{server.port}/", **bound)
            assert error.code is Refusal.TIMEOUT
            assert time.monotonic() - begun < 10

    async def test_a_server_that_breaks_off_is_an_error(self, server: Server) -> None:
        """In the middle of a body, with nonsense, or by not being there."""
        server.on("/cut", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort")
        server.on("/odd", b"this is not HTTP\r\n\r\n")
        guest = local(server)
        for path in ("/cut", "/odd"):
            error = await guest.refused(f"http://127.0.0.1:{server.port}{path}?token=secret")
            assert error.code is Refusal.FAILED
            assert "secret" not in error.message
        await server.close()
        error = await guest.refused(f"http://127.0.0.1:{server.port}/")
        assert error.code is Refusal.FAILED
        await server.start()

    async def test_concurrency_is_bounded(self, server: Server) -> None:
        """One at a time here; more than may wait are turned away."""
        held, open_now, most = asyncio.Event(), 0, 0

        async def hold(_: str, writer: asyncio.StreamWriter) -> None:
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)
            await held.wait()
            open_now -= 1
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()

        server.on("/", hold)
        guest = local(server, HttpLimits(concurrent=1, waiting=1))
        asking = [
            asyncio.create_task(guest.ask(f"http://127.0.0.1:{server.port}/")) for _ in range(3)
        ]
        async with asyncio.timeout(30):
            done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            error = done.pop().exception()
            assert isinstance(error, ServiceError)
            assert error.code is Refusal.UNAVAILABLE
            held.set()
            results = await asyncio.gather(*asking, return_exceptions=True)
        assert sum(isinstance(one, dict) for one in results) == 2
        assert most == 1

    async def test_no_socket_is_left(self, server: Server) -> None:
        """After answers, refusals, cuts and cancellations."""
        server.json("/")
        server.on("/cut", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort")
        server.json("/r", "302 Found", location="/")
        guest = local(server, HttpLimits(response_bytes=1))
        before = len(list(Path("/proc/self/fd").iterdir()))
        for path in ("/", "/cut", "/r") * 20:
            with pytest.raises(ServiceError):
                await guest.ask(f"http://127.0.0.1:{server.port}{path}")
        async with asyncio.timeout(30):
            while server._open:
                await asyncio.sleep(0)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


class TestTls:
    """The name is verified although the connection goes to a number."""

    @pytest.fixture
    async def secure(self, tmp_path: Path) -> AsyncIterator[tuple[Server, ssl.SSLContext]]:
        """A server whose certificate is for ``api.test``, and a context that trusts it."""
        (tmp_path / "c.pem").write_text(tls_pem.CERTIFICATE)
        (tmp_path / "k.pem").write_text(tls_pem.KEY)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
        names: list[str | None] = []
        context.sni_callback = lambda _socket, name, _context: names.append(name)
        server = Server()
        await server.start(context)
        server.json("/")
        server.heads.append("")
        yield server, ssl.create_default_context(cadata=tls_pem.CERTIFICATE)
        assert set(names) <= {"api.test", "other.test"}
        await server.close()

    async def test_the_certificate_must_be_for_the_name(
        self, secure: tuple[Server, ssl.SSLContext]
    ) -> None:
        """The right name passes, another one at the same address does not."""
        server, trusted = secure

        async def here(_host: str, _port: int) -> Sequence[str]:
            return ["127.0.0.1"]

        service = HttpService(ssl_context=trusted, resolver=here)
        hosts = tuple(
            HostGrant(name, server.port, private=True) for name in ("api.test", "other.test")
        )
        guest = Guest(Grants(hosts=hosts), service)
        assert (await guest.ask(f"https://api.test:{server.port}/"))["status"] == 200
        assert f"host: api.test:{server.port}" in server.heads[1].lower()
        error = await guest.refused(f"https://other.test:{server.port}/")
        assert error.code is Refusal.FAILED
        assert "certificate" in error.message

    async def test_an_unknown_authority_is_refused(
        self, secure: tuple[Server, ssl.SSLContext]
    ) -> None:
        """By default those of the system count."""
        server, _ = secure

        async def here(_host: str, _port: int) -> Sequence[str]:
            return ["127.0.0.1"]

        grant = HostGrant("api.test", server.port, private=True)
        guest = Guest(Grants(hosts=(grant,)), HttpService(resolver=here))
        error = await guest.refused(f"https://api.test:{server.port}/")
        assert "certificate" in error.message


class TestAddresses:
    """Names that lead where nothing was granted."""

    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
            "100.64.0.1", "100.100.100.200", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.1.2.3",
            "255.255.255.255", "240.0.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.7",
            "203.0.113.9", "::", "::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
            "2001:db8::1", "2001::1", "3fff::1", "4000::1", "::ffff:127.0.0.1",
            "::ffff:169.254.169.254", "::127.0.0.1", "::8.8.8.8", "2002:7f00:1::",
            "2002:a00:1::1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1",
            "fe80::1%eth0", "nonsense", "",
        ],
    )  # fmt: skip
    async def test_an_address_that_is_not_public_is_refused(self, address: str) -> None:
        """Alone and beside a public one; nothing is sent."""
        for answer in ([address], ["93.184.215.14", address]):
            names = Names({"rebind.test": [answer]}, [ok()])
            guest = names.guest(HostGrant("rebind.test"))
            error = await guest.refused("https://rebind.test/")
            assert error.code is Refusal.NOT_GRANTED
            assert names.sent == []
            assert [event.allowed for event in guest.events] == [False]

    @pytest.mark.parametrize(
        "address",
        ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8", "2002:808:808::1"],
    )
    async def test_public_addresses_pass(self, address: str) -> None:
        """Also IPv4 through a translator."""
        names = Names({"api.test": [[address]]}, [ok()])
        assert (await names.guest(HostGrant("api.test")).ask("https://api.test/"))["body"] == "ok"
        assert names.sent[0][0] == address

    async def test_a_name_is_looked_up_once(self) -> None:
        """What it answers the second time does not matter: the connection goes to the first."""
        names = Names({"rebind.test": [["93.184.215.14"], ["127.0.0.1"]]}, [ok()])
        await names.guest(HostGrant("rebind.test")).ask("https://rebind.test/")
        assert names.asked == ["rebind.test"]
        assert names.sent[0][0] == "93.184.215.14"
        assert names.sent[0][1].headers["host"] == "rebind.test"

    async def test_a_name_that_was_not_granted_is_not_looked_up(self) -> None:
        """A question to a name server can carry data."""
        names = Names({}, [])
        error = await names.guest(HostGrant("api.test")).refused("https://secret.evil.test/")
        assert error.code is Refusal.NOT_GRANTED
        assert names.asked == []

    async def test_the_next_address_is_tried_when_one_does_not_connect(self) -> None:
        """At most four of them."""
        answer = [f"93.184.215.{n}" for n in range(1, 9)]
        names = Names({"api.test": [list(answer)]}, [httpx2.Response(599), ok()])
        assert (await names.guest(HostGrant("api.test")).ask("https://api.test/"))["body"] == "ok"
        assert [address for address, _ in names.sent] == answer[:2]
        names = Names({"api.test": [list(answer)]}, [httpx2.Response(599) for _ in answer])
        error = await names.guest(HostGrant("api.test")).refused("https://api.test/")
        assert error.code is Refusal.FAILED
        assert len(names.sent) == 4

    async def test_a_name_without_address_fails(self) -> None:
        """That is no refusal."""
        names = Names({}, [])
        error = await names.guest(HostGrant("api.test")).refused("https://api.test/")
        assert error.code is Refusal.FAILED
        assert "not found" in error.message

    @pytest.mark.parametrize(
        "url",
        [
            "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://127.1/",
            "http://0177.0.0.1/", "http://127.0.0.1.:80x/", "http://127.0.0.0x1/",
            "http://[::ffff:127.0.0.1]/", "http://[::1]/", "http://127。0。0。1/", "http://127.0.0.1./",
            "http://[::ffff:7f00:1]/", "http://[fe80::1%25lo]/", "http://%31%32%37.0.0.1/",
            "http://①②⑦.⓪.⓪.①/",
        ],
    )  # fmt: skip
    async def test_no_spelling_of_the_loopback_gets_through(self, server: Server, url: str) -> None:
        """With every host granted: numbers, hex, octal, IPv6, other dots."""
        names = Names({}, [])
        guest = Guest(Grants(hosts=(HostGrant("*", scheme="*"),)), HttpService(send=names.send))
        error = await guest.refused(url)
        assert error.code in (Refusal.BAD_REQUEST, Refusal.NOT_GRANTED)
        assert names.sent == []

    async def test_private_is_a_grant_of_its_own(self) -> None:
        """For what the name leads to; never for multicast, and link-local only by its number."""
        names = Names(
            {
                "in.test": [
                    ["10.0.0.1"],
                    ["127.0.0.1"],
                    ["224.0.0.1"],
                    ["0.0.0.0"],
                    ["169.254.169.254"],
                ]
            },
            [ok(), ok()],
        )
        guest = names.guest(HostGrant("in.test", private=True), HostGrant("*", private=True))
        for _ in range(2):
            assert (await guest.ask("https://in.test/"))["status"] == 200
        for what in ("multicast", "of this network", "link-local"):
            error = await guest.refused("https://in.test/")
            assert error.code is Refusal.NOT_GRANTED
            assert what in error.message
        assert (await guest.refused("https://169.254.169.254/")).code is Refusal.NOT_GRANTED

    async def test_link_local_by_its_number(self) -> None:
        """The address itself, or a range of such addresses."""
        for pattern, allowed in (
            ("169.254.169.254", True), ("169.254.169.0/24", True), ("0.0.0.0/0", False),
        ):  # fmt: skip
            names = Names({}, [ok()])
            guest = names.guest(HostGrant(pattern, scheme="http", private=True))
            if allowed:
                assert (await guest.ask("http://169.254.169.254/"))["status"] == 200
            else:
                assert (await guest.refused("http://169.254.169.254/")).code is Refusal.NOT_GRANTED

    async def test_a_range_is_for_addresses_in_urls(self) -> None:
        """Not for names that resolve into it, which would mean asking for any name."""
        names = Names({"in.test": [["10.1.2.3"]]}, [ok()])
        guest = names.guest(HostGrant("10.0.0.0/8", scheme="*", private=True))
        assert (await guest.ask("http://10.1.2.3/"))["status"] == 200
        assert (await guest.refused("http://in.test/")).code is Refusal.NOT_GRANTED
        assert (await guest.refused("http://11.0.0.1/")).code is Refusal.NOT_GRANTED
        assert names.asked == []

    async def test_what_is_denied_is_denied(self) -> None:
        """By name before the lookup, by address after it, in every form of the address."""
        answers = [["93.184.215.14"], ["64:ff9b::93.184.215.14"], ["8.8.8.8"]]
        names = Names({"api.test": answers}, [ok()])
        guest = names.guest(HostGrant("*"), denied=("*.bad.test", "93.184.0.0/16"))
        assert (await guest.refused("https://very.bad.test/")).code is Refusal.NOT_GRANTED
        assert names.asked == []
        for _ in range(2):
            assert "denied" in (await guest.refused("https://api.test/")).message
        assert (await guest.ask("https://api.test/"))["status"] == 200


class TestAllowList:
    """Method, scheme, host and port."""

    @pytest.mark.parametrize(
        ("url", "method", "allowed"),
        [
            ("https://api.test/a", "GET", True),
            ("https://API.test./a", "GET", True),
            ("HTTPS://api.test:443/", "get", True),
            ("https://api.test/", "POST", False),
            ("http://api.test/", "GET", False),
            ("https://api.test:8443/", "GET", False),
            ("https://api.test:80/", "GET", False),
            ("https://sub.api.test/", "GET", False),
            ("https://evil.test/api.test", "GET", False),
            ("https://api.test.evil.test/", "GET", False),
            ("https://any.wild.test/", "DELETE", True),
            ("https://a.b.wild.test/", "GET", True),
            ("https://wild.test/", "GET", False),
            ("https://notwild.test/", "GET", False),
            ("http://plain.test:8080/", "GET", True),
            ("https://plain.test:8080/", "GET", False),
            ("https://bücher.test/", "GET", True),
            ("https://xn--bcher-kva.test/", "GET", True),
            ("https://BÜCHER.test/", "GET", True),
        ],
    )
    async def test_who_may_be_asked(self, url: str, method: str, allowed: bool) -> None:
        """The refusal names what is missing and never the path."""

        async def public(_host: str, _port: int) -> Sequence[str]:
            return ["93.184.215.14"]

        names = Names({}, [ok()])
        hosts = (
            HostGrant("Api.Test.", methods=frozenset({"GET"})),
            HostGrant("*.wild.test"),
            HostGrant("plain.test", 8080, "http"),
            HostGrant("bücher.test"),
        )
        guest = Guest(Grants(hosts=hosts), HttpService(resolver=public, send=names.send))
        if allowed:
            assert (await guest.ask(f"{url}?q=secret", method=method))["status"] == 200
        else:
            error = await guest.refused(f"{url}?q=secret", method=method)
            assert error.code is Refusal.NOT_GRANTED
            assert "secret" not in error.message
        assert [event.allowed for event in guest.events] == [allowed]
        assert "secret" not in guest.events[0].what + guest.events[0].reason

    async def test_without_a_grant_nothing_is_read(self) -> None:
        """The refusal says where to add one."""
        error = await Guest(Grants(), HttpService()).refused("https://api.test/")
        assert error.code is Refusal.NOT_GRANTED
        assert "permissions.network.allow" in error.message


class TestRedirects:
    """Each hop is a request of its own."""

    async def test_a_redirect_is_followed(self, server: Server) -> None:
        """Relative ones too; the final URL is told."""
        server.json("/a", "302 Found", location="/b?x=1")
        server.json("/b", "307 Temporary Redirect", location=f"http://localhost:{server.port}/c")
        server.json("/c")
        guest = local(server)
        found = await guest.ask(f"http://127.0.0.1:{server.port}/a")
        assert found["url"] == f"http://localhost:{server.port}/c"
        assert [event.what for event in guest.events] == [
            f"GET http://127.0.0.1:{server.port}",
            f"GET http://127.0.0.1:{server.port}",
            f"GET http://localhost:{server.port}",
        ]

    @pytest.mark.parametrize(
        "location",
        [
            "https://169.254.169.254/latest/meta-data", "https://[::1]/", "https://evil.test/",
            "https://inner.test/", "http://api.test/", "https://api.test:8443/", "//evil.test/x",
        ],
    )  # fmt: skip
    async def test_a_redirect_to_what_is_not_granted_ends(self, location: str) -> None:
        """By name, by address, by port, by leaving https."""
        answers = {"api.test": [["93.184.215.14"]] * 2, "inner.test": [["192.168.0.1"]]}
        names = Names(answers, [redirect(location), ok()])
        guest = names.guest(HostGrant("api.test", scheme="*"), HostGrant("inner.test"))
        error = await guest.refused("https://api.test/")
        assert error.code is Refusal.NOT_GRANTED
        assert len(names.sent) == 1
        assert [event.allowed for event in guest.events] == [True, False]

    async def test_leaving_https_can_be_granted(self) -> None:
        """By a grant that says http and means it."""
        names = Names({"api.test": [["93.184.215.14"]] * 2}, [redirect("http://api.test/"), ok()])
        guest = names.guest(HostGrant("api.test"), HostGrant("api.test", scheme="http"))
        assert (await guest.ask("https://api.test/"))["url"] == "http://api.test/"

    @pytest.mark.parametrize(
        "location", ["http://", "ftp://a/", "https://u:p@api.test/", "https://a b/", "https://1/"]
    )
    async def test_a_redirect_to_nonsense_fails(self, location: str) -> None:
        """Without quoting it."""
        names = Names({"api.test": [["93.184.215.14"]]}, [redirect(location)])
        error = await names.guest(HostGrant("*", scheme="*")).refused("https://api.test/")
        assert error.code is Refusal.FAILED
        assert "u:p" not in error.message

    async def test_five_redirects_and_no_more(self) -> None:
        """The sixth is an error."""
        for hops, works in ((5, True), (6, False)):
            names = Names(
                {"api.test": [["93.184.215.14"]] * 9}, [*(redirect("/") for _ in range(hops)), ok()]
            )
            guest = names.guest(HostGrant("api.test"))
            if works:
                assert (await guest.ask("https://api.test/"))["status"] == 200
            else:
                assert (await guest.refused("https://api.test/")).code is Refusal.FAILED

    async def test_credentials_stay_with_their_origin(self) -> None:
        """Of all headers only harmless ones cross; and none comes back later."""
        names = Names(
            {"api.test": [["93.184.215.14"]] * 3, "cdn.test": [["93.184.215.15"]]},
            [
                redirect("/again"),
                redirect("https://cdn.test/x"),
                redirect("https://api.test/"),
                ok(),
            ],
        )
        guest = names.guest(HostGrant("api.test"), HostGrant("cdn.test"))
        secret = {"Authorization": "Bearer s", "Cookie": "s", "X-Api-Key": "s", "Accept": "text/x"}
        await guest.ask("https://api.test/", headers=secret)
        kept = [
            {name for name in request.headers if request.headers[name] in ("s", "Bearer s")}
            for _, request in names.sent
        ]
        everything = {"authorization", "cookie", "x-api-key"}
        assert kept == [everything, everything, set(), set()]
        assert all(request.headers["accept"] == "text/x" for _, request in names.sent)

    @pytest.mark.parametrize(
        ("status", "method", "expected"),
        [
            (301, "POST", "GET"), (302, "POST", "GET"), (303, "POST", "GET"), (303, "PUT", "GET"),
            (303, "HEAD", "HEAD"), (307, "POST", "POST"), (308, "PUT", "PUT"), (301, "PUT", "PUT"),
        ],
    )  # fmt: skip
    async def test_methods_change_as_browsers_change_them(
        self, status: int, method: str, expected: str
    ) -> None:
        """The body goes with the method, and what described it."""
        names = Names({"api.test": [["93.184.215.14"]] * 2}, [redirect("/", status), ok()])
        await names.guest(HostGrant("api.test")).ask(
            "https://api.test/", method=method, body="x", headers={"Content-Type": "text/x"}
        )
        second = names.sent[1][1]
        assert second.method == expected
        assert ("content-type" in second.headers) == (expected == method)
        assert (second.content == b"x") == (expected == method)

    async def test_a_changed_method_is_checked_again(self) -> None:
        """A grant of POST is none of GET."""
        names = Names({"api.test": [["93.184.215.14"]] * 2}, [redirect("/", 303), ok()])
        guest = names.guest(HostGrant("api.test", methods=frozenset({"POST"})))
        assert (await guest.refused("https://api.test/", method="POST")).code is Refusal.NOT_GRANTED


class TestRequests:
    """What is no request."""

    @pytest.mark.parametrize(
        "request_",
        [
            {},
            {"url": 1},
            {"url": "api.test/"},
            {"url": "file:///etc/passwd"},
            {"url": "https://"},
            {"url": "https://api.test:0/"},
            {"url": "https://api.test:65536/"},
            {"url": "https://api.test:x/"},
            {"url": "https://user:pass@api.test/"},
            {"url": "https://api.test@evil.test/"},
            {"url": "https://api.test\\@evil.test/"},
            {"url": "https://a..b/"},
            {"url": "https://-a.test/"},
            {"url": "https://api.test/\r\nx: y"},
            {"url": "https://api.test/" + "a" * 9000},
            {"url": "https://api.test/", "method": "GET / HTTP/1.1\r\n"},
            {"url": "https://api.test/", "method": "CONNECT"},
            {"url": "https://api.test/", "method": "TRACE"},
            {"url": "https://api.test/", "method": 1},
            {"url": "https://api.test/", "body": 1},
            {"url": "https://api.test/", "body": "a", "body_base64": "YQ=="},
            {"url": "https://api.test/", "body_base64": "?"},
            {"url": "https://api.test/", "body": "\ud800"},
            {"url": "https://api.test/", "timeout_ms": 0},
            {"url": "https://api.test/", "timeout_ms": 60_001},
            {"url": "https://api.test/", "timeout_ms": True},
            {"url": "https://api.test/", "redirect": "follow"},
            {"url": "https://api.test/", "headers": []},
            {"url": "https://api.test/", "headers": {"a": 1}},
            {"url": "https://api.test/", "headers": {"a": "b\r\nc: d"}},
            {"url": "https://api.test/", "headers": {"a": "b\nc"}},
            {"url": "https://api.test/", "headers": {"a\r\nb": "c"}},
            {"url": "https://api.test/", "headers": {"a b": "c"}},
            {"url": "https://api.test/", "headers": {"a": "\0"}},
            {"url": "https://api.test/", "headers": {"a": "é"}},
            {"url": "https://api.test/", "headers": {"A": "1", "a": "2"}},
            {"url": "https://api.test/", "headers": {f"a{n}": "" for n in range(65)}},
            {"url": "https://api.test/", "headers": {"a": "b" * 17_000}},
            *(
                {"url": "https://api.test/", "headers": {name: "x"}}
                for name in (
                    "Host", "Content-Length", "Transfer-Encoding", "Connection", "TE", "Trailer",
                    "Proxy-Authorization", "Proxy-Connection", "Upgrade", "Expect",
                    "X-HTTP-Method-Override",
                )
            ),
        ],
    )  # fmt: skip
    async def test_a_bad_request_is_never_sent(self, request_: dict[str, Any]) -> None:
        """Everything is granted, nothing goes out, and nobody looks a name up."""
        names = Names({}, [])
        guest = names.guest(HostGrant("*", scheme="*", private=True))
        with pytest.raises(ServiceError) as error:
            await guest.service.answer(
                HostRequest(
                    Service.HTTP,
                    b"",
                    json.dumps(request_).encode(),
                    guest.grants,
                    time.monotonic() + 30,
                ),
                guest.events.append,
            )
        assert error.value.code is Refusal.BAD_REQUEST
        assert (names.sent, names.asked) == ([], [])

    @pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"url": NaN'])
    async def test_what_is_no_json_object_is_refused(self, body: bytes) -> None:
        """Deep nesting too."""
        guest = Names({}, []).guest(HostGrant("*"))
        with pytest.raises(ServiceError) as error:
            await guest.service.answer(
                HostRequest(Service.HTTP, b"", body, guest.grants, time.monotonic() + 30),
                guest.events.append,
            )
        assert error.value.code is Refusal.BAD_REQUEST

    async def test_large_bodies_are_refused(self) -> None:
        """As text and as base64."""
        names = Names({}, [])
        guest = Guest(
            Grants(hosts=(HostGrant("*"),)),
            HttpService(HttpLimits(request_bytes=10), send=names.send),
        )
        for body in ({"body": "a" * 11}, {"body_base64": base64.b64encode(bytes(11)).decode()}):
            assert (await guest.refused("https://a.test/", **body)).code is Refusal.TOO_LARGE
        assert (
            await guest.refused("https://a.test/", body="a" * 300_000)
        ).code is Refusal.TOO_LARGE
