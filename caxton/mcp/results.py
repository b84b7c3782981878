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
        code, said = _told(result)
        return error_result(code, " ".join(one for one in (said, hint) if one))
    return types.CallToolResult(
        content=[text(result.content)], structured_content=_object(result.content)
    )


def _told(result: ToolResult) -> tuple[str, str]:
    """Code and message of a failure: the tool's own where it told them."""
    value = _object(result.content)
    told = value.get("error") if value is not None else None
    if isinstance(told, dict) and told.get("message"):
        return str(told.get("code", result.reason)), str(told["message"])
    return result.reason or "failed", result.content or "the tool said nothing"


def _object(content: str) -> dict[str, Any] | None:
    """The JSON object that ``content`` is; None when it is none."""
    if not content.startswith("{"):
        return None
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
