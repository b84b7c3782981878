"""The default provider: no language model, and it says so.

It chooses a tool by rules, fills its arguments, and puts the result into a sentence. It needs no
key, no network and no download, and always gives the same answer to the same message.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from caxton.llm.provider import (
    ChatMessage,
    Delta,
    Done,
    ProviderSettings,
    Request,
    ToolCall,
    Usage,
)
from caxton.llm.tool_choice import choose_tool
from caxton.llm.tool_report import near_arguments, report

__all__ = ["NOTE", "RulesProvider"]

NOTE: Final = (
    "(provider: rules. This is no language model. To use one, set OPENAI_API_KEY or "
    "OPENAI_BASE_URL, or `llm.base_url` in caxton.toml.)"
)
"""Stands under every answer."""

_ABOUT = re.compile(
    r"\b(who|what) (are|r) (you|u)\b|\bwho is (this|there)\b|\bwhat (can|do) you do\b"
    r"|\b(introduce|describe) yourself\b|\byour (name|purpose|job|role)\b|\bhelp\b"
    r"|^\W*(hi|hello|hey|greetings|good (morning|day|evening))\b",
    re.IGNORECASE,
)


class RulesProvider:
    """Answers by rules; see the module's text."""

    name = "rules"
    capabilities = frozenset({"tools"})

    def __init__(self, settings: ProviderSettings | None = None) -> None:
        del settings

    async def stream(self, request: Request) -> AsyncIterator[Delta | Done]:
        """Answer: with a tool call, or with a text and the note."""
        done = self._answer(request)
        if done.text:
            yield Delta(done.text)
        yield done

    async def aclose(self) -> None:
        """Nothing is held."""

    def _answer(self, request: Request) -> Done:
        messages = request.messages
        if messages and messages[-1].role == "tool":
            return self._after_tools(messages)
        question = request.question or _last_question(messages)
        choice = choose_tool(question, request.tools)
        if _ABOUT.search(question) and (choice is None or choice.missing):
            return _said(_introduction(request))
        if choice is None:
            return _said(_nothing_fits(request))
        if choice.missing:
            wanted = ", ".join(f"`{name}`" for name in choice.missing)
            return _said(
                f"{choice.tool.name} fits, but the message does not hold its {wanted}.", failed=True
            )
        call = ToolCall(f"call_{len(messages)}", choice.tool.name, json.dumps(choice.arguments))
        return Done("", (call,), "tool_calls", Usage(), "rules")

    def _after_tools(self, messages: Sequence[ChatMessage]) -> Done:
        results = []
        for one in reversed(messages):
            if one.role != "tool":
                break
            results.append(one)
        asked = messages[-len(results) - 1].tool_calls if len(messages) > len(results) else ()
        calls = {call.id: call for call in asked}
        texts, failed = [], False
        for result in reversed(results):
            call = calls.get(result.tool_call_id)
            arguments = _arguments(call)
            better = near_arguments(arguments, result.content)
            if call is not None and better is not None:
                again = ToolCall(f"{call.id}_again", call.name, json.dumps(better))
                return Done("", (again,), "tool_calls", Usage(), "rules")
            ok, text = report(result.name or "the tool", arguments, result.content)
            failed = failed or not ok
            texts.append(text)
        return _said("\n".join(texts), failed=failed)


def _arguments(call: ToolCall | None) -> dict[str, Any]:
    value = json.loads(call.arguments) if call is not None else {}
    return value if isinstance(value, dict) else {}


def _said(text: str, *, failed: bool = False) -> Done:
    return Done(f"{text}\n\n{NOTE}", (), "stop", Usage(), "rules", failed)


def _last_question(messages: Sequence[ChatMessage]) -> str:
    return next((one.content for one in reversed(messages) if one.role == "user"), "")


def _introduction(request: Request) -> str:
    """Who the agent is, from its file: its description and its prompt."""
    lines = [f"I am {request.agent_name or 'an agent'}."]
    if request.agent_description:
        lines.append(request.agent_description)
    system = next((one.content for one in request.messages if one.role == "system"), "")
    instructions = _beginning(system)
    if instructions:
        lines.append(f"My instructions: {instructions}")
    if request.tools:
        lines.append(f"I can call: {', '.join(tool.name for tool in request.tools)}.")
    return "\n".join(lines)


def _beginning(text: str) -> str:
    """The text without headings, on one line, cut after a thousand characters."""
    kept = [line.strip() for line in text.splitlines() if not line.startswith("#")]
    joined = " ".join(line for line in kept if line)
    return joined if len(joined) <= 1_000 else f"{joined[:999]}…"


def _nothing_fits(request: Request) -> str:
    if request.tools:
        names = ", ".join(tool.name for tool in request.tools)
        return (
            f"No tool of {request.agent_name or 'this agent'} fits this message. It has: {names}."
        )
    return (
        f"{request.agent_name or 'This agent'} needs a language model to answer this, and none is "
        "configured."
    )
