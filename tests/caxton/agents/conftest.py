"""Shared: messages, a context, and services with a fake tool runner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from caxton.agents.behaviour import ToolResult
from caxton.message import Message, make_message

ME = b"m" * 16
CLIENT = b"c" * 16


class FakeContext:
    """The conversation so far, and two names."""

    def __init__(self, history: Sequence[Message] = ()) -> None:
        self.agent_id = ME
        self.agent_name = "Analyst"
        self.delivery_count = 1
        self.past = list(history)

    async def history(self, limit: int = 50) -> Sequence[Message]:
        return self.past[-limit:]

    def name_of(self, agent_id: bytes) -> str:
        return {ME: "Analyst", CLIENT: "client"}.get(agent_id, "someone")


class FakeRunner:
    """Answers tool calls by a function; ``calls`` keeps them."""

    def __init__(self, answer: Callable[[dict[str, Any]], Any] | None = None) -> None:
        self.answer = answer or (lambda arguments: ToolResult(True, '{"value": 42.5}'))
        self.calls: list[tuple[str, dict[str, Any], dict[str, Any], int]] = []

    async def call(
        self,
        tool: Any,
        arguments: Mapping[str, Any],
        *,
        permissions: Any,
        timeout_ms: int,
        owner: str,
    ) -> ToolResult:
        self.calls.append((tool.name, dict(arguments), dict(permissions), timeout_ms))
        result = self.answer(dict(arguments))
        return await result if hasattr(result, "__await__") else result


@pytest.fixture
def context() -> FakeContext:
    return FakeContext()


@pytest.fixture
def runner() -> FakeRunner:
    return FakeRunner()


@pytest.fixture
def ask() -> Callable[..., Message]:
    """Makes a message to the agent."""

    def make(
        content: str = "mean of price in data/x.csv", act: str = "request", **fields: Any
    ) -> Message:
        return make_message(act, sender=CLIENT, receiver=ME, content=content, **fields)

    return make


@pytest.fixture
def examples() -> Path:
    return Path(__file__).parents[3] / "examples"
