"""Agents as MCP tools: one for each capability, and one to talk to an agent by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import mcp_types as types
import msgspec
import orjson
from starlette.requests import Request

from caxton.api.entry import Entry
from caxton.api.guard import trace_context
from caxton.errors import CaxtonError, Timeout
from caxton.mcp.results import error_result, text
from caxton.message import DeliveryOptions, Message, Performative, make_message
from caxton.storage.registry import AgentRecord
from caxton.tools.arguments import wrong_arguments
from caxton.tools.catalog import ToolSpec
from caxton.types import MessageTimeoutMs, format_id, new_id, parse_id

__all__ = ["Asking", "ask_schema", "ask_tool", "send_tool"]

DESCRIPTION: Final = 1_000
_FAILED: Final = frozenset({Performative.FAILURE, Performative.REFUSE, Performative.NOT_UNDERSTOOD})
_UUID: Final = "[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}"
_COMMON: Final[dict[str, Any]] = {
    "content": {
        "description": "What to say: text, or JSON for an agent that takes it.",
        "anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array"}],
    },
    "conversation_id": {
        "type": "string",
        "pattern": f"^{_UUID}$",
        "description": "Of an earlier answer, to go on with that conversation. A new one without.",
    },
    "timeout_ms": {
        "type": "integer",
        "minimum": int(MessageTimeoutMs.low),
        "maximum": int(MessageTimeoutMs.high),
        "description": "How long to wait for the answer, in milliseconds.",
    },
}
_ASK: Final[dict[str, Any]] = {
    "type": "object",
    "properties": _COMMON,
    "required": ["content"],
    "additionalProperties": False,
}
_SEND: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "to": {"type": "string", "minLength": 1, "description": "Name or id of an agent."},
        **_COMMON,
        "performative": {
            "type": "string",
            "description": "The FIPA-ACL act: request when not given.",
            "enum": [one.value for one in Performative],
        },
        "wait": {
            "type": "boolean",
            "default": True,
            "description": "Wait for the answer; false returns once the message is on disk.",
        },
    },
    "required": ["to", "content"],
    "additionalProperties": False,
}
_ANSWER: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "performative": {"type": "string"},
        "content": {"description": "Text, or JSON when the agent answered with it."},
        "sender": {"type": "string"},
        "conversation_id": {"type": "string"},
        "message_id": {"type": "string"},
    },
    "required": ["conversation_id", "message_id"],
}
_HINTS: Final = types.ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
)


def ask_schema() -> Mapping[str, Any]:
    """The arguments of a tool that asks for a capability."""
    return _ASK


def ask_tool(name: str, capability: str, records: Sequence[AgentRecord]) -> types.Tool:
    """The tool that has an agent with ``capability`` answer."""
    agents = ", ".join(sorted(one.name for one in records))
    said = [one.definition.description for one in records if one.definition is not None]
    described = next((one for one in said if one), "")
    begin = f"Have an agent with the capability `{capability}` answer ({agents})."[:300]
    return types.Tool(
        name=name,
        title=capability,
        description=f"{begin} {described}".strip()[:DESCRIPTION],
        input_schema=_ASK,
        output_schema=_ANSWER,
        annotations=_HINTS,
        _meta={"caxton/capability": capability},
    )


def send_tool() -> types.Tool:
    """The tool that talks to one agent."""
    return types.Tool(
        name="caxton_send",
        title="Send a message to an agent",
        description="Say something to one agent by its name, and get what it answers.",
        input_schema=_SEND,
        output_schema=_ANSWER,
        annotations=_HINTS,
    )


class Asking:
    """Sends messages for MCP clients and waits for the replies.

    Args:
        entry: the node.
        timeout_ms: longest wait.
    """

    def __init__(self, entry: Entry, timeout_ms: int) -> None:
        self._entry = entry
        self._timeout_ms = timeout_ms

    async def ask(
        self, capability: str, arguments: Mapping[str, Any], request: Any
    ) -> types.CallToolResult:
        """Have an agent with ``capability`` answer."""
        wrong = _wrong("ask", _ASK, arguments)
        if wrong:
            return error_result("bad_arguments", wrong)
        message = self._message(arguments, request, capability=capability)
        return await self._wait(message, arguments)

    async def send(self, arguments: Mapping[str, Any], request: Any) -> types.CallToolResult:
        """Talk to one agent."""
        wrong = _wrong("caxton_send", _SEND, arguments)
        if wrong:
            return error_result("bad_arguments", wrong)
        receiver = self._entry.agent_id(arguments["to"], "to")
        message = self._message(arguments, request, receiver=receiver)
        if arguments.get("wait", True):
            return await self._wait(message, arguments)
        outcome = (await self._entry.submit([message]))[0]
        if isinstance(outcome, CaxtonError):
            raise outcome
        body = msgspec.to_builtins(outcome)
        return types.CallToolResult(
            content=[text(orjson.dumps(body).decode())], structured_content=body
        )

    def _message(self, arguments: Mapping[str, Any], request: Any, **to: Any) -> Message:
        given = arguments["content"]
        content = given if isinstance(given, str) else orjson.dumps(given)
        asked = arguments.get("conversation_id")
        trace = trace_context(request.scope) if isinstance(request, Request) else None
        return make_message(
            arguments.get("performative", Performative.REQUEST),
            sender=self._entry.identity,
            content=content,
            conversation_id=parse_id(asked, "conversation_id") if asked else new_id(),
            language="application/json" if not isinstance(given, str) else None,
            trace_context=trace,
            delivery_options=DeliveryOptions(),
            max_content=self._entry.max_content,
            **to,
        )

    async def _wait(self, message: Message, arguments: Mapping[str, Any]) -> types.CallToolResult:
        timeout_ms = min(int(arguments.get("timeout_ms", self._timeout_ms)), self._timeout_ms)
        conversation = format_id(message.conversation_id)
        try:
            _, reply = await self._entry.request(message, timeout_ms)
        except Timeout as error:
            return error_result(
                error.code,
                f"{error.detail}. The message was accepted and is being handled; the answer will "
                f"be in the conversation {conversation}.",
            )
        body = {
            "performative": reply.performative.value,
            "content": _content(reply),
            "sender": self._entry.agent_name(reply.sender),
            "conversation_id": conversation,
            "message_id": format_id(reply.message_id),
        }
        failed = reply.performative in _FAILED
        said = f"{reply.performative.value}: {reply.text}" if failed else reply.text
        return types.CallToolResult(
            content=[text(said), text(f"conversation_id: {conversation}")],
            structured_content=body,
            is_error=failed,
        )


def _content(reply: Message) -> Any:
    """The content as JSON where it is an object or an array, as text otherwise."""
    said = reply.text
    if said[:1] in ("{", "["):
        try:
            return orjson.loads(said)
        except orjson.JSONDecodeError:
            return said
    return said


def _wrong(name: str, schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    wrong = wrong_arguments(ToolSpec(name, "", dict(schema)), arguments)
    content = arguments.get("content")
    return "content: it is empty" if isinstance(content, str) and not content.strip() else wrong
