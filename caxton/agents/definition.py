"""What an agent file says, checked: the value every other part works with.

A definition is immutable, travels as msgpack, and is small: defaults are shared between
definitions, and a definition of a file without special settings is little more than its prompt.
This module imports nothing heavy.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

__all__ = [
    "AgentDefinition",
    "AgentLimits",
    "Budget",
    "ConversationSettings",
    "FileMode",
    "LlmSettings",
    "MemorySettings",
    "Permissions",
    "Spend",
    "ToolMode",
    "kebab",
]

ToolMode = Literal["native", "schema", "repair"]
FileMode = Literal["ro", "rw"]
AgentKind = Literal["config", "wasm", "python"]

_CAMEL = re.compile(r"([a-z0-9])([A-Z])")


def kebab(name: str) -> str:
    """The kebab-case form in which names are compared: ``DataAnalyst`` is ``data-analyst``."""
    return _CAMEL.sub(r"\1-\2", name).replace("_", "-").lower()


class LlmSettings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which language model, and how to ask it. ``None`` means the node's default."""

    provider: str | None = None
    model: str | None = None
    temperature: float | None = None
    """0 to 2."""
    max_tokens: int | None = None
    """Most tokens of one answer: 1 to 1,000,000."""
    tool_mode: ToolMode = "native"
    """``schema`` for models without tool calls, ``repair`` to find calls in their text."""
    fallback: tuple[str, ...] = ()
    """Tried in order when the first fails: ``PROVIDER`` or ``PROVIDER/MODEL``."""


class MemorySettings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the agent remembers between conversations."""

    enabled: bool = False
    scope: Literal["agent", "workspace", "global"] = "agent"
    auto_store: bool = False
    search_limit: int = 10
    """Most memories in a prompt: 1 to 100."""
    min_similarity: float = 0.6
    """0 to 1."""


class ConversationSettings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How much of a conversation the agent takes part in and sees."""

    max_turns: int = 50
    """Messages it answers in one conversation: 1 to 1,000."""
    context_tokens: int = 4_000
    """Tokens of earlier messages in a prompt, estimated: 0 to 1,000,000."""


class AgentLimits(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Bounds of one agent. ``None`` means the node's default."""

    concurrency: int | None = None
    """Conversations it works on at once: 1 to 1,000."""
    queue: int | None = None
    """Messages its mailbox holds: 1 to 10,000."""
    response_timeout_ms: int | None = None
    """For one turn, all of its model and tool calls: 1 s to 1 h."""
    tool_timeout_ms: int | None = None
    """For one tool call: 100 ms to 10 min."""
    memory_bytes: int | None = None
    """Linear memory of a WASM agent: 64 KiB to 512 MiB."""
    fuel: int | None = None
    """Work of one call of a WASM agent, about one per instruction: 1 to 10^12."""
    rate: float | None = None
    """Messages a second it takes."""


class Spend(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What may be spent within one window. ``None`` means without limit."""

    tokens: int | None = None
    money: float | None = None
    """US dollars."""
    tool_calls: int | None = None
    llm_calls: int | None = None


NO_LIMIT: Final = Spend()


class Budget(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an agent may spend, stopped before the call that would go over it."""

    conversation: Spend = NO_LIMIT
    hour: Spend = NO_LIMIT
    day: Spend = NO_LIMIT


class Permissions(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the agent's tools may reach. Nothing is granted by default."""

    files: dict[str, FileMode] = {}
    """Folder of the workspace, to ``ro`` or ``rw``; tools see it under the same name."""
    hosts: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    kv: bool = False
    databases: tuple[str, ...] = ()
    tools: dict[str, Permissions] = {}
    """Tools with permissions of their own, which stand in place of these."""
    memory: bool = False
    """Search the agent's own memory."""

    def for_tool(self, name: str) -> dict[str, Any]:
        """What the tool ``name`` may reach, as plain types without what is not granted."""
        own = self.tools.get(name, self)
        given: dict[str, Any] = {}
        if own.files:
            given["files"] = dict(own.files)
        for key in ("hosts", "env", "databases"):
            values = getattr(own, key)
            if values:
                given[key] = list(values)
        if own.kv:
            given["kv"] = True
        if own.memory:
            given["memory"] = True
        return given


DEFAULT_LLM: Final = LlmSettings()
DEFAULT_MEMORY: Final = MemorySettings()
DEFAULT_CONVERSATION: Final = ConversationSettings()
DEFAULT_LIMITS: Final = AgentLimits()
DEFAULT_BUDGET: Final = Budget()
NO_PERMISSIONS: Final = Permissions()


class AgentDefinition(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One version of an agent, as its file describes it. Made by ``parse_agent_file``."""

    name: str
    version: str = "0.1.0"
    """Semantic version (semver.org 2.0.0)."""
    description: str = ""
    capabilities: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    """The tools it may call; what is not listed is not allowed."""
    system_prompt: str = ""
    """Verbatim; never rendered as a template."""
    user_prompt_template: str | None = None
    llm: LlmSettings = DEFAULT_LLM
    parameters: dict[str, Any] = {}
    memory: MemorySettings = DEFAULT_MEMORY
    conversation: ConversationSettings = DEFAULT_CONVERSATION
    limits: AgentLimits = DEFAULT_LIMITS
    permissions: Permissions = NO_PERMISSIONS
    budget: Budget = DEFAULT_BUDGET
    wasm: str | None = None
    """Path of the module, relative to the folder of the agent file."""
    python: str | None = None
    """``module:Class``; the module is a ``.py`` beside the agent file, or importable."""
    content_hash: str = ""
    """SHA-256 of the file's bytes, in hex."""
    metadata: dict[str, Any] = {}
    """Keys of other tools that are kept and mean nothing here, such as ``color``."""
    priority: int = 50
    """Among providers of one capability, 1 to 100: higher is asked first."""
    capability_versions: dict[str, str] = {}
    """Capabilities whose version is not that of the agent."""

    @property
    def kind(self) -> AgentKind:
        """``wasm``, ``python`` or ``config``, told by its keys."""
        if self.wasm is not None:
            return "wasm"
        return "python" if self.python is not None else "config"

    def capability_version(self, capability: str) -> str:
        """The version in which it offers a capability: its own, when it names no other."""
        return self.capability_versions.get(capability, self.version)

    def granted(self, tool: str) -> dict[str, Any]:
        """What a tool of this agent may reach, as ``Permissions.for_tool``; ``memory`` names the
        agent whose it is. The empty name is that of the agent's own module."""
        given = self.permissions.for_tool(tool)
        if "memory" in given:
            given["memory"] = self.name
        return given

    @property
    def slug(self) -> str:
        """The form of the name that is unique in a workspace."""
        return kebab(self.name)

    @property
    def module_file(self) -> str | None:
        """Where its code would lie, relative to the folder of the agent file."""
        if self.wasm is not None:
            return self.wasm
        if self.python is not None:
            return self.python.partition(":")[0].replace(".", "/") + ".py"
        return None
