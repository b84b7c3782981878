"""One turn of a configuration agent: model, tools, model, … until there is an answer.

Bounded by rounds, by the budget, by the caller's deadline, and by a loop guard: a model that asks
for the same tool with the same arguments again has learned nothing and is stopped.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from caxton.agents.behaviour import ToolResult, ToolRunner
from caxton.agents.definition import AgentDefinition, ToolMode
from caxton.agents.spending import Ledger
from caxton.agents.tool_modes import calls_of, shape
from caxton.errors import ModelUnavailable, TurnStopped
from caxton.llm.provider import ChatMessage, Done, Provider, Request, ToolCall, fold
from caxton.tools.arguments import wrong_arguments
from caxton.tools.catalog import ToolSpec

__all__ = ["Turn"]

logger = logging.getLogger("caxton.agents.turn")

MAX_ROUNDS: Final = 10
MAX_CALLS: Final = 16
"""Tool calls of one answer of a model."""
TOOL_TIMEOUT_MS: Final = 30_000


@dataclass(frozen=True, slots=True)
class Turn:
    """What turns of one agent version are taken with."""

    definition: AgentDefinition
    providers: Sequence[tuple[Provider, str]]
    """Provider and model, in the order in which they are tried."""
    tools: Mapping[str, ToolSpec]
    """What it may call."""
    runner: ToolRunner
    ledger: Ledger

    async def take(self, request: Request, conversation: bytes) -> Done:
        """Take one turn; gives the model's last answer.

        Raises:
            ModelUnavailable: no provider answered.
            BudgetSpent: the next call would go over the budget.
            TurnStopped: it led to no answer.
        """
        messages = list(request.messages)
        seen: set[tuple[str, str]] = set()
        for number in range(MAX_ROUNDS):
            asked = msgspec.structs.replace(request, messages=tuple(messages))
            done, mode = await self._ask(asked, conversation)
            text, calls = calls_of(done, mode, self.tools, f"call_{number}")
            if not calls:
                if not text.strip():
                    raise self._stopped("the model gave an empty answer")
                return msgspec.structs.replace(done, text=text, tool_calls=())
            messages.append(ChatMessage("assistant", text, calls))
            messages += await self._call(calls, seen, conversation)
        raise self._stopped(f"no answer after {MAX_ROUNDS} rounds of tool calls")

    def _stopped(self, reason: str) -> TurnStopped:
        return TurnStopped(agent=self.definition.name, reason=reason)

    async def _ask(self, request: Request, conversation: bytes) -> tuple[Done, ToolMode]:
        """One answer, from the first provider that gives one, and how its tools were asked for."""
        failure: ModelUnavailable | None = None
        for provider, model in self.providers:
            self.ledger.may_call_model(conversation)
            self.ledger.add(conversation, llm_calls=1)
            mode = self.definition.llm.tool_mode
            if mode == "schema" and "json_schema" not in provider.capabilities:
                mode = "native"
            try:
                named = shape(msgspec.structs.replace(request, model=model), mode)
                done = await fold(provider.stream(named), provider.name)
            except ModelUnavailable as error:
                logger.warning("%s: %s", self.definition.name, error)
                failure = error
                continue
            self.ledger.add(conversation, tokens=done.usage.total)
            return done, mode
        raise failure or self._stopped("no provider is set")

    async def _call(
        self, calls: Sequence[ToolCall], seen: set[tuple[str, str]], conversation: bytes
    ) -> list[ChatMessage]:
        """Run the calls of one answer beside each other; a wrong one is told to the model."""
        keys = [(call.name, _canonical(call.arguments)) for call in calls]
        repeated = next((key for key in keys if key in seen), None)
        if repeated is not None:
            raise self._stopped(f"it called {repeated[0]} again with the same arguments")
        seen.update(keys)
        first: dict[tuple[str, str], ToolCall] = {}
        for key, call in zip(keys, calls, strict=True):
            if len(first) < MAX_CALLS:
                first.setdefault(key, call)
        self.ledger.may_call_tools(conversation, len(first))
        self.ledger.add(conversation, tool_calls=len(first))
        results = await asyncio.gather(*(self._run(call) for call in first.values()))
        by_key = dict(zip(first, results, strict=True))
        refused = _refused("too_many", f"at most {MAX_CALLS} tool calls in one answer")
        return [
            ChatMessage("tool", by_key.get(key, refused), tool_call_id=call.id, name=call.name)
            for key, call in zip(keys, calls, strict=True)
        ]

    async def _run(self, call: ToolCall) -> str:
        """What the model is told of one call."""
        tool = self.tools.get(call.name)
        if tool is None:
            return _refused("not_allowed", f"{call.name} may not be called; there is {self._names}")
        try:
            arguments = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError) as error:
            return _refused("bad_arguments", f"the arguments are not JSON: {error}")
        if not isinstance(arguments, dict):
            return _refused("bad_arguments", "the arguments must be a JSON object")
        wrong = wrong_arguments(tool, arguments)
        if wrong:
            return _refused("bad_arguments", wrong)
        limits = self.definition.limits
        result = await self.runner.call(
            tool,
            arguments,
            permissions=self.definition.granted(tool.name),
            timeout_ms=limits.tool_timeout_ms or TOOL_TIMEOUT_MS,
            owner=self.definition.slug,
        )
        logger.debug("%s called %s: %s", self.definition.name, tool.name, result.reason or "ok")
        return _told(result)

    @property
    def _names(self) -> str:
        return ", ".join(self.tools) or "no tool"


def _canonical(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments


def _refused(code: str, message: str) -> str:
    return json.dumps({"error": {"code": code, "message": message}})


def _told(result: ToolResult) -> str:
    if result.ok:
        return result.content
    if result.content.startswith('{"error"'):
        return result.content
    return _refused(result.reason or "failed", result.content or "the tool said nothing")
