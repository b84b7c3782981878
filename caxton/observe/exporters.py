"""Exporters of spans: one table of where traces can go."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from caxton.config import Config
from caxton.errors import ConfigInvalid
from caxton.observe.tracing import OFF, Tracing
from caxton.types import format_id

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["EXPORTERS", "TRACES_S", "Exporter", "make_tracing"]


TRACES_S: Final = 2.0
"""How long a process that ends may take to export the spans it has."""


@dataclass(frozen=True, slots=True)
class Exporter:
    """One place where spans can go."""

    make: Callable[[str | None], SpanExporter]
    """Makes it for an endpoint; None for the exporter's own default and its OTEL_ variables."""
    about: str
    """What it speaks, for people."""
    endpoint: str = ""
    """Where it goes when nothing else is said."""


def _console(endpoint: str | None) -> SpanExporter:
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    # One line each, beside the output of the command that serves.
    return ConsoleSpanExporter(out=sys.stderr, formatter=lambda span: f"{span.to_json(None)}\n")


def _otlp(endpoint: str | None) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=endpoint)


def _otlp_grpc(endpoint: str | None) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=endpoint)


def _zipkin(endpoint: str | None) -> SpanExporter:
    from opentelemetry.exporter.zipkin.json import ZipkinExporter

    return ZipkinExporter(endpoint=endpoint)


EXPORTERS: Final[dict[str, Exporter]] = {
    "console": Exporter(_console, "JSON lines on stderr"),
    "otlp": Exporter(
        _otlp, "OTLP over HTTP: Jaeger, Tempo, an OpenTelemetry Collector",
        "http://localhost:4318/v1/traces",
    ),
    "otlp-grpc": Exporter(_otlp_grpc, "OTLP over gRPC", "http://localhost:4317"),
    "zipkin": Exporter(
        _zipkin, "Zipkin's JSON of version 2", "http://localhost:9411/api/v2/spans"
    ),
}  # fmt: skip
"""Exporter by its name in ``trace.exporter``."""


def make_tracing(
    config: Config, node_id: bytes, process: str, name_of: Callable[[bytes], str] = format_id
) -> Tracing:
    """The tracing of one process, as the settings say.

    Raises:
        ConfigInvalid: the exporter's package is not installed.
    """
    if config.trace_exporter == "none":
        return OFF
    from caxton import __version__
    from caxton.observe.spans import Spans

    try:
        exporter = EXPORTERS[config.trace_exporter].make(config.trace_endpoint or None)
    except ImportError as error:
        raise ConfigInvalid(
            field="trace.exporter",
            value=config.trace_exporter,
            allowed=f"installed with `pip install 'caxton[tracing]'` ({error.name} is missing)",
            origin="given",
        ) from error
    node = format_id(node_id)
    spans = Spans(exporter, version=__version__, node=node, process=process)
    return Tracing(spans, config.trace_ratio, name_of)
