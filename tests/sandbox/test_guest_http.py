"""HTTP of guests with real servers on the loopback, and requests that are none."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tls_pem
from sandbox_http import Guest, Names, Server, local

from sandbox.grants import Grants, HostGrant
from sandbox.services.http import HttpService
from sandbox.services.http_request import HttpLimits
from sandbox.services.request import HostRequest, Refusal, Service, ServiceError


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
