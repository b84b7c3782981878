"""W3C trace context: whose request a message belongs to."""

from __future__ import annotations

from typing import Annotated

import msgspec

from caxton.errors import ValidationError
from caxton.types import SpanId, TraceId

__all__ = ["TraceContext", "parse_traceparent"]


class TraceContext(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """W3C trace context: whose request this message belongs to."""

    trace_id: Annotated[str, msgspec.Meta(min_length=32, max_length=32)]
    span_id: Annotated[str, msgspec.Meta(min_length=16, max_length=16)]
    sampled: bool = False

    @property
    def traceparent(self) -> str:
        """The value of the ``traceparent`` header."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def parse_traceparent(value: object, field: str = "traceparent") -> TraceContext:
    """Read a W3C ``traceparent`` of version 00.

    Raises:
        ValidationError: it is not one.
    """
    parts = value.split("-") if isinstance(value, str) else []
    if len(parts) == 4 and parts[0] == "00" and len(parts[3]) == 2:
        try:
            return TraceContext(
                TraceId.parse(parts[1], field),
                SpanId.parse(parts[2], field),
                bool(int(parts[3], 16) & 1),
            )
        except ValueError as error:
            raise ValidationError(field=field, value=value, allowed="W3C flags") from error
    raise ValidationError(field=field, value=value, allowed="a W3C traceparent of version 00")
