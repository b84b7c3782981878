"""The shipped HTTP tool: what it asks of the host, what it answers, and how refusals read.

The last class sends real requests, through a worker and the HTTP service.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shipped_tool import ShippedTool, check_description, module_of

from sandbox import Grants, HostGrant, Questions, Sandbox
from sandbox.services.answerer import HostServices
from sandbox.services.http import HttpService
from sandbox.services.request import Refusal, Service, ServiceError
from sandbox.wasmtime_engine import WasmtimeEngine

IN_PLACE = settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Web:
    """The host: keeps requests, gives one answer."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.answer: bytes | ServiceError = response("")

    def __call__(self, service: Service, key: bytes, body: bytes) -> bytes | None:
        assert (service, key) == (Service.HTTP, b"")
        self.raw.append(body)
        self.requests.append(json.loads(body))
        if isinstance(self.answer, ServiceError):
            raise self.answer
        return self.answer


def response(body: str | bytes, kind: str = "text/plain", status: int = 200) -> bytes:
    """A response as the host tells it."""
    told: dict[str, object] = {
        "status": status,
        "url": "https://api.example.com/final",
        "headers": {"Content-Type": kind, "x-n": "1"},
    }
    if isinstance(body, str):
        told["body"] = body
    else:
        told["body_base64"] = base64.b64encode(body).decode()
    return json.dumps(told, ensure_ascii=False).encode()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[WasmtimeEngine, Path]:
    """The tool, compiled once."""
    return ShippedTool.compiled("http_client", tmp_path_factory.mktemp("tool"))


@pytest.fixture
def web() -> Web:
    """A host that answers with an empty text."""
    return Web()


@pytest.fixture
def tool(compiled: tuple[WasmtimeEngine, Path], web: Web, tmp_path: Path) -> ShippedTool:
    """The tool with that host."""
    tool = ShippedTool(*compiled, tmp_path)
    tool.host = web
    return tool


URL = "https://api.example.com/v1"


def test_a_plain_request_is_a_get(tool: ShippedTool, web: Web) -> None:
    """The request has just what the host's interface names."""
    got = tool.ask(url=URL)
    assert web.requests == [
        {"method": "GET", "url": URL, "headers": {"accept": "*/*"}, "timeout_ms": 10_000}
    ]
    assert got == {
        "status": 200,
        "ok": True,
        "url": "https://api.example.com/final",
        "headers": {"Content-Type": "text/plain", "x-n": "1"},
        "bytes": 0,
        "text": "",
    }


def test_bodies_have_their_types(tool: ShippedTool, web: Web) -> None:
    """JSON, text, form and bytes; a body makes a POST."""
    value = {"a": [1.50, "é", None, 12345678901234567890], "b": {}}
    tool.ask(url=URL, json=value)
    tool.ask(url=URL, text="naïve")
    tool.ask(url=URL, form={"a b": "1&2", "n": 5, "l": ["x", True]})
    tool.ask(url=URL, base64="AAEC", method="PUT")
    tool.ask(url=URL, json=[], headers={"CONTENT-type": "application/x+json", "Accept": "a/b"})
    first, second, third, fourth, fifth = web.requests
    assert [item["method"] for item in web.requests] == ["POST", "POST", "POST", "PUT", "POST"]
    assert json.loads(first["body"]) == value
    assert "12345678901234567890" in first["body"]
    assert first["headers"]["content-type"] == "application/json"
    assert second["body"] == "naïve"
    assert second["headers"]["content-type"] == "text/plain; charset=utf-8"
    assert third["body"] == "a%20b=1%262&n=5&l=x&l=true"
    assert third["headers"]["content-type"] == "application/x-www-form-urlencoded"
    assert (fourth["body_base64"], "body" in fourth) == ("AAEC", False)
    assert fifth["headers"] == {"CONTENT-type": "application/x+json", "Accept": "a/b"}


def test_false_zero_and_empty_bodies_are_bodies(tool: ShippedTool, web: Web) -> None:
    """Only what is not there is no body."""
    for value in (False, 0, "", {}, []):
        tool.ask(url=URL, json=value)
        assert json.loads(web.requests[-1]["body"]) == value
    tool.ask(url=URL, text="x", json=None)
    assert web.requests[-1]["body"] == "x"
    assert tool.error(url=URL, json=1, text="x") == (
        "bad_argument",
        "give json or text as the body, not both",
    )


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://a.b/c", "https://a.b/c?q=1"),
        ("https://a.b/c?", "https://a.b/c?q=1"),
        ("https://a.b/c?x=2", "https://a.b/c?x=2&q=1"),
        ("https://a.b/c?x=2&", "https://a.b/c?x=2&q=1"),
        ("https://a.b/c#top?", "https://a.b/c?q=1#top?"),
        ("https://a.b/c?x#top", "https://a.b/c?x&q=1#top"),
    ],
)
def test_query_parameters_join_the_url(tool: ShippedTool, web: Web, url: str, wanted: str) -> None:
    """After those that are there, before the fragment."""
    tool.ask(url=url, query={"q": 1})
    assert web.requests[0]["url"] == wanted
    tool.ask(url=url, query={"q": None, "r": []})
    assert web.requests[1]["url"] == url


texts = st.text(st.characters(codec="utf-8"), max_size=12)


@IN_PLACE
@given(st.dictionaries(texts, texts | st.lists(texts, min_size=1, max_size=3), max_size=4))
def test_any_parameter_arrives_as_it_is(
    tool: ShippedTool, web: Web, query: dict[str, str | list[str]]
) -> None:
    """Names and values of any text, also in lists."""
    tool.ask(url=URL, query=query)
    expected = [
        (name, one)
        for name, value in query.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    sent = urlsplit(web.requests[-1]["url"]).query
    assert parse_qsl(sent, keep_blank_values=True, max_num_fields=50) == expected


def test_json_is_parsed_by_its_type(tool: ShippedTool, web: Web) -> None:
    """application/json and what ends with +json; numbers keep their digits."""
    for kind in ("application/json", "application/problem+json; charset=utf-8", "TEXT/JSON"):
        web.answer = response('{"a": [1.10, 18446744073709551616, "\\u00e9"]}', kind)
        got = tool.ask(url=URL)
        assert got["json"] == {"a": [1.1, 18446744073709551616, "é"]}
        assert "text" not in got
    web.answer = response('{"a": 1}', "text/html")
    assert tool.ask(url=URL)["text"] == '{"a": 1}'
    web.answer = response('{"a": \n oops}', "application/json")
    got = tool.ask(url=URL)
    assert got["text"] == '{"a": \n oops}'
    assert got["json_error"].startswith("line 2, column 2: ")
    web.answer = response("", "application/json", 204)
    got = tool.ask(url=URL)
    assert (got["status"], got["text"], "json" in got) == (204, "", False)


def test_bytes_come_as_base64(tool: ShippedTool, web: Web) -> None:
    """And their number is told."""
    for data in (b"\xff", b"\xff\0", b"\xff\0\1", b"\xff" * 1000):
        web.answer = response(data, "image/png")
        got = tool.ask(url=URL)
        assert base64.b64decode(got["base64"], validate=True) == data
        assert got["bytes"] == len(data)
        assert "truncated" not in got


def test_long_bodies_are_cut(tool: ShippedTool, web: Web) -> None:
    """Text between characters, bytes between groups of three; the whole length is told."""
    web.answer = response("é" * 100)
    got = tool.ask(url=URL, max_bytes=11)
    assert (got["text"], got["bytes"], got["truncated"]) == ("é" * 5, 200, True)
    web.answer = response(bytes(range(128, 228)))
    got = tool.ask(url=URL, max_bytes=11)
    assert base64.b64decode(got["base64"], validate=True) == bytes(range(128, 137))
    assert (got["bytes"], got["truncated"]) == (100, True)
    web.answer = response("[" + "1," * 100_000 + "1]", "application/json")
    got = tool.ask(url=URL)
    assert (len(got["text"]), got["truncated"], "json" in got) == (200_000, True, False)
    assert len(tool.ask(url=URL, max_bytes=8_000_000)["json"]) == 100_001


def test_ten_megabytes_fit(tool: ShippedTool, web: Web) -> None:
    """A response near the host's limit is read within the default limits."""
    web.answer = response(json.dumps(["x" * 90] * 95_000), "application/json")
    assert 8_900_000 < len(web.answer) < 10_000_000
    got = tool.ask(url=URL, max_bytes=1000)
    assert got["truncated"]
    assert tool.fuel_used < tool.limits.fuel / 2


@pytest.mark.parametrize("status", [100, 199, 200, 204, 299, 300, 404, 500, 599])
def test_any_status_is_an_answer(tool: ShippedTool, web: Web, status: int) -> None:
    """ok says whether it was a success."""
    web.answer = response("x", status=status)
    got = tool.ask(url=URL)
    assert (got["status"], got["ok"]) == (status, 200 <= status < 300)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.example.com:8443/v1?token=secret", "https://api.example.com:8443"),
        ("https://user:secret@api.example.com/", "https://api.example.com"),
        ("https://a@b@c.example#secret", "https://c.example"),
        ("http://[::1]:80\\secret", "http://[::1]:80"),
    ],
)
def test_a_refusal_names_the_host_to_grant(
    tool: ShippedTool, web: Web, url: str, origin: str
) -> None:
    """With the method, without what may be secret in a URL."""
    web.answer = ServiceError(Refusal.NOT_GRANTED, "that is not a granted host")
    code, message = tool.error(url=url, method="DELETE")
    assert code == "not_granted"
    assert "that is not a granted host" in message
    assert f"DELETE {origin};" in message
    assert "secret" not in message


@pytest.mark.parametrize("refusal", [item for item in Refusal if item != "not_granted"])
def test_other_refusals_are_told_as_they_are(tool: ShippedTool, web: Web, refusal: Refusal) -> None:
    """Code and message are the host's."""
    web.answer = ServiceError(refusal, 'it said "no" — nö')
    assert tool.error(url=URL) == (refusal, 'it said "no" — nö')
    web.answer = ServiceError(refusal, "x" * 10_000)
    code, message = tool.error(url=URL)
    assert (code, message) == (refusal, "x" * 512)


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"[]", b"{", b"{}", b"null", b'{"status":200}',
        b'{"status":"200","url":"x","headers":{},"body":""}',
        b'{"status":200,"url":"x","headers":[],"body":""}',
        b'{"status":200,"url":"x","headers":{},"body":"","body_base64":""}',
        b'{"status":200,"url":"x","headers":{},"body":5}',
    ],
)  # fmt: skip
def test_an_answer_that_is_no_response_is_an_error(
    tool: ShippedTool, web: Web, answer: bytes
) -> None:
    """Whatever a host says, the tool neither traps nor makes something up."""
    web.answer = answer
    assert tool.code(url=URL) == "bad_answer"


def test_wrong_arguments_are_named(tool: ShippedTool, web: Web) -> None:
    """Nothing is asked of the host for them."""
    assert tool.code() == "missing_argument"
    assert tool.code(url="") == "missing_argument"
    assert tool.code(url=5) == "bad_argument"
    assert tool.code(url=URL, method="get") == "bad_argument"
    assert tool.code(url=URL, methud="GET") == "unknown_argument"
    assert tool.code(url=URL, timeout_ms=0) == "bad_argument"
    assert tool.code(url=URL, timeout_ms=60_001) == "bad_argument"
    assert tool.code(url=URL, headers={"a": 1}) == "bad_argument"
    assert tool.code(url=URL, headers=["a"]) == "bad_argument"
    assert tool.code(url=URL, query={"a": {}}) == "bad_argument"
    assert tool.code(url=URL, query={"a": [[]]}) == "bad_argument"
    assert tool.code(url="x" * 8001) == "bad_argument"
    assert web.requests == []


@IN_PLACE
@given(texts, st.dictionaries(texts, texts, max_size=3), texts)
def test_the_request_is_valid_json_of_the_same_values(
    tool: ShippedTool, web: Web, url: str, headers: dict[str, str], text: str
) -> None:
    """Any text survives the way through the tool."""
    tool.ask(url="https://x/" + url, headers=headers, text=text)
    sent = json.loads(web.raw[-1])
    assert sent["url"] == "https://x/" + url
    assert sent["body"] == text
    given_headers = {k: v for k, v in sent["headers"].items() if k in headers}
    assert given_headers == headers


def test_the_description_is_the_sidecar(tool: ShippedTool) -> None:
    """--describe prints tool.json, and the module is the recorded one."""
    check_description(tool, "http_client")


class Handler(BaseHTTPRequestHandler):
    """Says what it was asked; /away leads to an address that is not granted, /here back."""

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def answer(self) -> None:
        """Any method."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        location = {"/away": "http://127.0.0.2:9/secret", "/here": "/final"}.get(self.path)
        told = json.dumps({"path": self.path, "method": self.command, "body": body}).encode()
        data = b"\x89PNG\xff\x00" if self.path == "/image" else told
        self.send_response(302 if location else 404 if self.path == "/missing" else 200)
        if location:
            self.send_header("location", location)
        self.send_header(
            "content-type", "image/png" if self.path == "/image" else "application/json"
        )
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815


@pytest.mark.process
class TestRequests:
    """A server on this machine, granted as a private host."""

    @pytest.fixture
    def port(self) -> Iterator[int]:
        """The server's port."""
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            yield server.server_address[1]
            server.shutdown()
            thread.join()

    @pytest.fixture
    async def box(self, cache_dir: Path) -> AsyncIterator[Sandbox]:
        """A sandbox whose guests may ask for HTTP."""
        services = HostServices(http=HttpService())
        async with Sandbox(cache_dir, workers=1, questions=Questions(answerer=services)) as box:
            yield box
        await services.close()

    @staticmethod
    async def ask(box: Sandbox, grants: Grants, **arguments: object) -> dict[str, Any]:
        """What the tool answers."""
        module = await box.prepare(module_of("http_client"))
        got = await box.run_command(module, json.dumps(arguments).encode(), grants=grants)
        answer: dict[str, Any] = json.loads(got.stdout)
        return answer

    async def test_requests_reach_a_granted_host_and_no_other(
        self, box: Sandbox, port: int
    ) -> None:
        """Methods, bodies, redirects, statuses and bytes; without a grant nothing."""
        local = f"http://127.0.0.1:{port}"
        grants = Grants(
            hosts=(
                HostGrant(
                    "127.0.0.1", port, "http", methods=frozenset({"GET", "POST"}), private=True
                ),
            )
        )
        got = await self.ask(box, grants, url=f"{local}/a", query={"q": "ž &"}, json={"n": 1})
        assert got["json"] == {
            "path": "/a?q=%C5%BE%20%26", "method": "POST", "body": '{"n":1}',
        }  # fmt: skip
        assert got["ok"]
        got = await self.ask(box, grants, url=f"{local}/here")
        assert (got["url"], got["json"]["path"]) == (f"{local}/final", "/final")
        got = await self.ask(box, grants, url=f"{local}/missing")
        assert (got["status"], got["ok"]) == (404, False)
        got = await self.ask(box, grants, url=f"{local}/image")
        assert base64.b64decode(got["base64"]) == b"\x89PNG\xff\x00"

        for refused in (
            {"url": f"{local}/a", "method": "DELETE"},
            {"url": f"{local}/away"},
            {"url": f"http://127.0.0.1:{port + 1}/"},
            {"url": "http://169.254.169.254/latest"},
        ):
            error = (await self.ask(box, grants, **refused))["error"]
            assert error["code"] == "not_granted", refused
        assert "127.0.0.2" in (await self.ask(box, grants, url=f"{local}/away"))["error"]["message"]
        error = (await self.ask(box, Grants(), url=f"{local}/a"))["error"]
        assert error["code"] == "not_granted"
        assert f"GET {local};" in error["message"]
        error = (await self.ask(box, grants, url="ftp://127.0.0.1/"))["error"]
        assert error["code"] == "bad_request"
