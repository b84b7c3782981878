"""How a model is asked for tool calls, and how they are found in its answer.

``native`` uses the protocol's own tool calls. ``schema`` constrains the text to JSON that names a
tool, for models without tool calls. ``repair`` asks natively, and also reads calls that a model
wrote into its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from caxton.agents.definition import ToolMode
from caxton.llm.provider import ChatMessage, Done, Request, ToolCall
from caxton.tools.catalog import ToolSpec

__all__ = ["calls_of", "shape"]

MAX_TRIES: Final = 50
"""Places of a text at which a JSON object is looked for."""

_FENCE = re.compile(r"```(?:json)?\s*(\{.*?\})\s*```", re.DOTALL)
_decoder = json.JSONDecoder()


def shape(request: Request, mode: ToolMode) -> Request:
    """The request as ``mode`` asks it of a provider."""
    if mode != "schema" or not request.tools:
        return request
    messages = [_as_text(one) for one in request.messages]
    told = ChatMessage("system", _instructions(request.tools))
    position = 1 if messages and messages[0].role == "system" else 0
    return msgspec.structs.replace(
        request,
        messages=(*messages[:position], told, *messages[position:]),
        tools=(),
        json_schema=_schema(request.tools),
    )


def _schema(tools: Sequence[ToolSpec]) -> dict[str, Any]:
    branches = [
        {
            "type": "object",
            "properties": {"tool": {"const": tool.name}, "arguments": tool.input_schema},
            "required": ["tool", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    text = {
        "type": "object",
        "properties": {"tool": {"const": "none"}, "text": {"type": "string"}},
        "required": ["tool", "text"],
        "additionalProperties": False,
    }
    return {"oneOf": [*branches, text]}


def _instructions(tools: Sequence[ToolSpec]) -> str:
    lines = [f"- {tool.name}: {tool.description}" for tool in tools]
    return (
        "Answer with one JSON object. To call a tool: "
        '{"tool": NAME, "arguments": {...}}. To answer: {"tool": "none", "text": ANSWER}.\n'
        "Tools:\n" + "\n".join(lines)
    )


def _as_text(one: ChatMessage) -> ChatMessage:
    """Calls and results as plain messages: such models know no other."""
    if one.tool_calls:
        call = one.tool_calls[0]
        return ChatMessage("assistant", f'{{"tool": "{call.name}", "arguments": {call.arguments}}}')
    if one.role == "tool":
        return ChatMessage("user", f"Result of {one.name}: {one.content}")
    return one


def calls_of(
    done: Done, mode: ToolMode, tools: Mapping[str, ToolSpec], call_id: str
) -> tuple[str, tuple[ToolCall, ...]]:
    """The text and the tool calls of an answer. ``call_id`` names a call that has no id."""
    if mode == "native" or done.tool_calls or not tools:
        return done.text, done.tool_calls
    if mode == "schema":
        value = _object(done.text)
        if value is not None and value.get("tool") == "none":
            return str(value.get("text", "")), ()
        call = _call(value, tools, call_id)
        return ("", (call,)) if call else (done.text, ())
    for candidate in _candidates(done.text):
        call = _call(candidate, tools, call_id)
        if call is not None:
            return "", (call,)
    return done.text, ()


def _call(
    value: dict[str, Any] | None, tools: Mapping[str, ToolSpec], call_id: str
) -> ToolCall | None:
    if value is None:
        return None
    function = value.get("function")
    if isinstance(function, dict):
        value = function
    name = value.get("tool") or value.get("name")
    arguments = value.get("arguments", value.get("parameters", {}))
    if not isinstance(name, str) or name not in tools:
        return None
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    return ToolCall(call_id, name, arguments)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _candidates(text: str) -> list[dict[str, Any]]:
    """JSON objects in a text: those in fences first."""
    found = [value for value in map(_object, _FENCE.findall(text)) if value is not None]
    at, tries = text.find("{"), 0
    while at >= 0 and tries < MAX_TRIES:
        tries += 1
        try:
            value, end = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            found.append(value)
        at = text.find("{", end)
    return found
