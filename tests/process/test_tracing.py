"""Traces of a whole node: every process exports its spans, and they make one tree."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
from conftest_process import until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collector:
    """A collector that speaks OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        """Process and span."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans.extend((named["caxton.process"], span) for span in scope.spans)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()
    made.thread.join()


def test_a_request_is_one_tree_over_all_processes(start_node, collector) -> None:
    """From the caller's own span through the gateway and the shards to the reply."""
    node = start_node(
        "--shards", "2",
        CAXTON_TRACE_EXPORTER="otlp",
        CAXTON_TRACE_ENDPOINT=collector.url,
        CAXTON_TRACE_RATIO="0",
    )  # fmt: skip
    processes = set()
    for number in range(8):
        # A new conversation each time: some live on the shard of the agent, some on the other.
        trace = f"{TRACE[:-1]}{number}"
        response = httpx2.post(
            f"{node.url}/api/v1/messages",
            params={"wait": "10s"},
            json={"receiver": "Echo", "content": "hi"},
            headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"},
        )
        assert response.status_code == 200, response.text
    node.caxton("send", "--to", "Echo", "not traced")
    wanted = {"POST", "send", "admit", "journal", "route", "deliver", "handle"}

    def of(trace: str) -> list[tuple[str, Span]]:
        return [(name, span) for name, span in collector.spans if span.trace_id.hex() == trace]

    for number in range(8):
        trace = f"{TRACE[:-1]}{number}"
        until(
            lambda trace=trace: (
                wanted <= {span.name.split()[0] for _, span in of(trace)}
                and sum(span.name.startswith("send") for _, span in of(trace)) == 2
            ),
            "the spans of a request and of its reply",
        )
        spans = of(trace)
        known = {span.span_id for _, span in spans}
        above = [span.parent_span_id for _, span in spans if span.parent_span_id not in known]
        assert [one.hex() for one in above] == ["b7ad6b7169203331"]
        homes = {name for name, span in spans if span.name == "send Echo"}
        hands = {name for name, span in spans if span.name == "handle Echo"}
        assert len(homes) == len(hands) == 1
        processes |= {*homes, *hands, *(name for name, _ in spans)}
    assert processes >= {"gateway", "shard-0", "shard-1"}
    assert node.end() == 0
    assert {span.trace_id.hex()[:-1] for _, span in collector.spans} == {TRACE[:-1]}
