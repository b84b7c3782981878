"""Tools of other servers as tools of agents: names, descriptions and results within bounds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, Final

import mcp_types as types
import orjson

from caxton.tools.catalog import MCP_SOURCE, ToolSpec

__all__ = ["foreign_specs", "result_of", "tool_name"]

NAME: Final = 64
"""Longest name of a tool that language models take."""
TOOLS: Final = 200
"""Tools of one server."""
SCHEMA_BYTES: Final = 64 * 1024
DESCRIPTION: Final = 1_000
RESULT: Final = 256 * 1024
"""Characters of the largest result; a longer one is an error that says so."""
_OTHER: Final = re.compile(r"[^A-Za-z0-9_-]+")


def tool_name(prefix: str, name: str, taken: Iterable[str] = ()) -> str:
    """A name that MCP clients and language models take (``[A-Za-z0-9_-]{1,64}``), unlike others.

    Args:
        prefix: what it begins with.
        name: any text.
        taken: names that it must not have.
    """
    made = f"{prefix}{_OTHER.sub('_', name)}"
    if len(made) > NAME or made in taken or made == prefix:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        made = f"{made[: NAME - 9]}_{digest}"
    return made


def foreign_specs(
    server: str, tools: Iterable[types.Tool]
) -> tuple[tuple[ToolSpec, ...], dict[str, str], dict[str, str]]:
    """The tools of ``server`` for the catalog, its names by ours, why others are left out."""
    specs: list[ToolSpec] = []
    names: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for tool in tools:
        if len(specs) >= TOOLS:
            left_out[tool.name[:NAME]] = f"more than {TOOLS} tools"
            continue
        schema = tool.input_schema
        if schema.get("type") != "object":
            left_out[tool.name[:NAME]] = "its arguments are no object"
            continue
        if len(orjson.dumps(schema, default=str)) > SCHEMA_BYTES:
            left_out[tool.name[:NAME]] = f"a schema of more than {SCHEMA_BYTES:,} bytes"
            continue
        name = tool_name(f"{server}__", tool.name, names)
        names[name] = tool.name
        specs.append(
            ToolSpec(
                name=name,
                description=(tool.description or tool.title or tool.name)[:DESCRIPTION],
                input_schema=schema,
                source=f"{MCP_SOURCE}{server}",
                sandboxed=False,
                hints=_hints(tool.annotations),
            )
        )
    return tuple(specs), names, left_out


def _hints(annotations: types.ToolAnnotations | None) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for name in ("read_only", "destructive", "idempotent", "open_world"):
        value = getattr(annotations, f"{name}_hint", None)
        if value is not None:
            found[name] = value
    return found


def result_of(result: types.CallToolResult) -> tuple[bool, str, str]:
    """Whether the call went well, its text, and the reason when it did not."""
    parts = [_text(block) for block in result.content]
    if result.structured_content is not None and not any(parts):
        parts = [orjson.dumps(result.structured_content, default=str).decode()]
    text = "\n".join(part for part in parts if part)
    if len(text) > RESULT:
        detail = f"{len(text):,} characters of result, at most {RESULT:,} are passed on"
        return False, detail, "reply_too_large"
    return not result.is_error, text, "tool_error" if result.is_error else ""


def _text(block: Any) -> str:
    if isinstance(block, types.TextContent):
        return block.text
    if isinstance(block, types.ImageContent | types.AudioContent):
        return f"[{block.type} {block.mime_type}, {len(block.data):,} characters, left out]"
    if isinstance(block, types.ResourceLink):
        return f"[resource {block.uri}]"
    if isinstance(block, types.EmbeddedResource):
        inner = block.resource
        if isinstance(inner, types.TextResourceContents):
            return inner.text
        return f"[resource {inner.uri}, {len(inner.blob):,} characters, left out]"
    return f"[{getattr(block, 'type', 'something')}, left out]"
