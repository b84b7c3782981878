"""Finished spans in the OpenTelemetry SDK: collected in a bounded queue, exported by a thread.

Imported only by a process that traces.
"""

from __future__ import annotations

import contextvars
import threading
from typing import Any, Final

from opentelemetry import context, trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from caxton.errors import CaxtonError
from caxton.observe import names

__all__ = ["Spans"]

QUEUE: Final = 8_192
"""Spans that wait for their export; more are dropped, and the SDK says so in the log."""
BATCH: Final = 512
DELAY_MS: Final = 1_000
"""Between two exports of what was collected."""

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_OK: Final = Status(StatusCode.UNSET)


class Spans:
    """The spans of one process.

    Args:
        exporter: where they go.
        version: of Caxton.
        node: id of the node, as text.
        process: name of the process.
    """

    def __init__(self, exporter: SpanExporter, *, version: str, node: str, process: str) -> None:
        self._exporter = exporter
        self._processor = BatchSpanProcessor(
            exporter, QUEUE, schedule_delay_millis=DELAY_MS, max_export_batch_size=BATCH
        )
        own = Resource.create(
            {
                "service.name": "caxton",
                "service.version": version,
                "service.instance.id": f"{node}/{process}",
                "caxton.process": process,
            }
        )
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES are its operator's words: they win.
        self._resource = own.merge(OTELResourceDetector().detect())
        self._scope = InstrumentationScope("caxton", version)

    def add(
        self,
        name: str,
        ids: tuple[int, int, int],
        start_ns: int,
        end_ns: int,
        kind: str,
        attributes: dict[str, Any],
        error: CaxtonError | None,
    ) -> None:
        """A span is over. See ``caxton.observe.tracing.SpanSink``."""
        in_trace, span, parent = ids
        status = _OK
        if error is not None:
            attributes[names.ERROR] = error.code
            status = Status(StatusCode.ERROR, error.detail)
        self._processor.on_end(
            ReadableSpan(
                name,
                context=SpanContext(in_trace, span, is_remote=False, trace_flags=_SAMPLED),
                parent=(
                    SpanContext(in_trace, parent, is_remote=True, trace_flags=_SAMPLED)
                    if parent
                    else None
                ),
                resource=self._resource,
                attributes=attributes,
                kind=SpanKind[kind.upper()],
                status=status,
                start_time=start_ns,
                end_time=end_ns,
                instrumentation_scope=self._scope,
            )
        )

    def context(self, ids: tuple[int, int]) -> contextvars.Context:
        """A context in which the span of these ids is the current one."""
        current = NonRecordingSpan(SpanContext(*ids, is_remote=False, trace_flags=_SAMPLED))
        made = contextvars.copy_context()
        made.run(context.attach, trace.set_span_in_context(current))
        return made

    def close(self, timeout_s: float) -> None:
        """Export what is left, within about ``timeout_s``, and end the thread."""
        # The SDK's own flush heeds no deadline: it goes on as long as its exporter tries.
        flush = threading.Thread(target=self._processor.force_flush, daemon=True)
        flush.start()
        flush.join(timeout_s)
        self._exporter.shutdown()
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # of the SDK
