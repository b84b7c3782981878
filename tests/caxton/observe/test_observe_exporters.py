"""Spans on the wire: real exporters to servers of this test, over HTTP and gRPC."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from caxton.config import Config
from caxton.errors import AgentFailed
from caxton.message import TraceContext, make_message
from caxton.observe.exporters import make_tracing
from caxton.types import format_id, new_id

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """An HTTP server that keeps what it is sent."""
    taken: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            taken.append((self.path, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()
    server.server_close()
    thread.join()


def export(exporter: str, endpoint: str, *, patience_s: float = 5.0) -> bytes:
    """One span of a message through an exporter; returns the id of the message."""
    config = Config(trace_exporter=exporter, trace_endpoint=endpoint, trace_ratio=0.0)
    tracing = make_tracing(config, new_id(), "shard-0")
    message = make_message(
        "request", sender=new_id(), capability="work",
        trace_context=TraceContext(TRACE, PARENT, sampled=True),
    )  # fmt: skip
    assert tracing.samples(message)
    trace = tracing.begin(message, tracing.clock())
    trace.ended(AgentFailed(agent="Work", attempts=1, reason="broken"))
    tracing.close(patience_s)
    return message.message_id


def check_otlp(request: ExportTraceServiceRequest, message_id: bytes) -> None:
    """The request holds the span as OTLP has it."""
    (resource,) = request.resource_spans
    attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert attributes["service.name"] == "caxton"
    span = resource.scope_spans[0].spans[0]
    assert span.name == "send work"
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT
    assert span.span_id == message_id[8:]
    assert span.status.code == 2
    said = {one.key: one.value.string_value for one in span.attributes}
    assert said["messaging.message.id"] == format_id(message_id)
    assert said["error.type"] == "AGENT_FAILED"


def test_otlp_over_http(collector) -> None:
    """Protobuf to the endpoint of the settings."""
    url, taken = collector
    message_id = export("otlp", f"{url}/v1/traces")
    ((path, body),) = taken
    assert path == "/v1/traces"
    check_otlp(ExportTraceServiceRequest.FromString(body), message_id)


def test_zipkin(collector) -> None:
    """JSON of version 2."""
    url, taken = collector
    message_id = export("zipkin", f"{url}/api/v2/spans")
    ((path, body),) = taken
    assert path == "/api/v2/spans"
    (span,) = json.loads(body)
    assert span["traceId"] == TRACE
    assert span["parentId"] == PARENT
    assert span["id"] == message_id[8:].hex()
    assert span["kind"] == "PRODUCER"
    assert span["localEndpoint"]["serviceName"] == "caxton"
    assert span["tags"]["error.type"] == "AGENT_FAILED"


def test_otlp_over_grpc() -> None:
    """The same protobuf over gRPC."""
    taken: list[ExportTraceServiceRequest] = []

    class Service(TraceServiceServicer):
        def Export(  # noqa: N802 - the name in the protocol
            self, request: ExportTraceServiceRequest, context: object
        ) -> ExportTraceServiceResponse:
            taken.append(request)
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    message_id = export("otlp-grpc", f"http://127.0.0.1:{port}")
    server.stop(None).wait()
    (request,) = taken
    check_otlp(request, message_id)


def test_console(capsys) -> None:
    """One line of JSON on stderr, beside what the node prints."""
    message_id = export("console", "")
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    span = json.loads(line)
    assert span["name"] == "send work"
    assert span["attributes"]["messaging.message.id"] == format_id(message_id)


def test_a_collector_that_is_away_costs_no_message(caplog) -> None:
    """What cannot be exported is dropped, and the end of the process waits for it a little."""
    started = time.monotonic()
    export("otlp", "http://127.0.0.1:9/v1/traces", patience_s=0.5)
    assert time.monotonic() - started < 4.0
    assert "127.0.0.1" in caplog.text
