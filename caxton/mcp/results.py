"""Results of calls as MCP has them."""

from __future__ import annotations

from typing import Any, Final

import mcp_types as types
import orjson

from caxton.agents.behaviour import ToolResult

__all__ = ["error_result", "text", "tool_result"]

SHOWN: Final = 4_000
"""Characters of an error that are told."""


def text(content: str) -> types.TextContent:
    """A text block."""
    return types.TextContent(type="text", text=content)


def error_result(code: str, message: str) -> types.CallToolResult:
    """A call that did not go well, in words for a model to read."""
    return types.CallToolResult(content=[text(f"{code}: {message}"[:SHOWN])], is_error=True)


def tool_result(result: ToolResult, hint: str = "") -> types.CallToolResult:
    """What a tool gave back; ``hint`` is added to a failure."""
    if not result.ok:
        parts = [result.content or "the tool said nothing", hint]
        message = " ".join(one for one in parts if one)
        return error_result(result.reason or "failed", message)
    return types.CallToolResult(
        content=[text(result.content)], structured_content=_object(result.content)
    )


def _object(content: str) -> dict[str, Any] | None:
    """The JSON object that ``content`` is; None when it is none."""
    if not content.startswith("{"):
        return None
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
