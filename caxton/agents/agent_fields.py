"""The tables of an agent file: each key of ``llm``, ``limits``, … with its range."""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from caxton.agents.definition import (
    DEFAULT_BUDGET,
    DEFAULT_CONVERSATION,
    DEFAULT_LIMITS,
    DEFAULT_LLM,
    DEFAULT_MEMORY,
    NO_LIMIT,
    NO_PERMISSIONS,
    AgentLimits,
    Budget,
    ConversationSettings,
    FileMode,
    LlmSettings,
    MemorySettings,
    Permissions,
    Spend,
)
from caxton.agents.field_checks import Checks, Reader
from caxton.agents.places import Key

__all__ = [
    "CAPABILITY",
    "OFFER",
    "TOOL",
    "read_budget",
    "read_conversation",
    "read_limits",
    "read_llm",
    "read_memory",
    "read_permissions",
]

CAPABILITY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
OFFER: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,99})(@(?P<version>\d{1,9}(\.\d{1,9}){0,2}[0-9A-Za-z.+-]{0,40}))?"
)
"""A capability, and after an ``@`` its version."""
TOOL: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.:*-]{0,127}(\([^()\n]{0,200}\))?")
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,252})(:\d{1,5})?")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PROVIDER = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_FALLBACK = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}(/\S{1,200})?")
_DATABASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}(:r[ow])?")

MAX_COUNT: Final = 10**12

T = TypeVar("T", bound=msgspec.Struct)
Rows = Mapping[str, tuple[str, Reader]]


def _integer(low: int, high: int) -> Reader:
    return lambda checks, value, path: checks.integer(value, path, low, high)


def _number(low: float, high: float) -> Reader:
    return lambda checks, value, path: checks.number(value, path, low, high)


def _duration(low: int, high: int) -> Reader:
    return lambda checks, value, path: checks.duration_ms(value, path, low, high)


def _size(low: int, high: int) -> Reader:
    return lambda checks, value, path: checks.size_bytes(value, path, low, high)


def _choice(*options: str) -> Reader:
    return lambda checks, value, path: checks.choice(value, path, options)


def _boolean(checks: Checks, value: Any, path: Key) -> bool | None:
    return checks.boolean(value, path)


def _names(pattern: re.Pattern[str], allowed: str) -> Reader:
    def read(checks: Checks, value: Any, path: Key) -> tuple[str, ...]:
        return tuple(
            sys.intern(name) for name, _ in checks.names(value, path, pattern, 32, allowed)
        )

    return read


def _provider(checks: Checks, value: Any, path: Key) -> str | None:
    if isinstance(value, str) and _PROVIDER.fullmatch(value):
        return sys.intern(value)
    checks.refuse(path, value, "the name of a provider such as openai")
    return None


def _model(checks: Checks, value: Any, path: Key) -> str | None:
    text = checks.text(value, path, 200)
    return sys.intern(text) if text else None


def _read(checks: Checks, value: Any, path: Key, rows: Rows, default: T) -> T:
    found = checks.table(value, path, rows)
    return msgspec.structs.replace(default, **found) if found else default


_LLM: Final[Rows] = {
    "provider": ("provider", _provider),
    "model": ("model", _model),
    "temperature": ("temperature", _number(0, 2)),
    "max_tokens": ("max_tokens", _integer(1, 1_000_000)),
    "tool_mode": ("tool_mode", _choice("native", "schema", "repair")),
    "fallback": ("fallback", _names(_FALLBACK, "PROVIDER or PROVIDER/MODEL")),
}
_MEMORY: Final[Rows] = {
    "enabled": ("enabled", _boolean),
    "scope": ("scope", _choice("agent", "workspace", "global")),
    "auto_store": ("auto_store", _boolean),
    "search_limit": ("search_limit", _integer(1, 100)),
    "min_similarity": ("min_similarity", _number(0, 1)),
}
_CONVERSATION: Final[Rows] = {
    "max_turns": ("max_turns", _integer(1, 1_000)),
    "context_tokens": ("context_tokens", _integer(0, 1_000_000)),
}
_LIMITS: Final[Rows] = {
    "concurrency": ("concurrency", _integer(1, 1_000)),
    "queue": ("queue", _integer(1, 10_000)),
    "response_timeout": ("response_timeout_ms", _duration(1_000, 3_600_000)),
    "tool_timeout": ("tool_timeout_ms", _duration(100, 600_000)),
    "memory": ("memory_bytes", _size(64 * 1024, 512 * 1024 * 1024)),
    "fuel": ("fuel", _integer(1, MAX_COUNT)),
    "rate": ("rate", lambda checks, value, path: checks.rate(value, path)),
}
_SPEND: Final[Rows] = {
    "tokens": ("tokens", _integer(0, MAX_COUNT)),
    "money": ("money", _number(0, 1e9)),
    "tool_calls": ("tool_calls", _integer(0, MAX_COUNT)),
    "llm_calls": ("llm_calls", _integer(0, MAX_COUNT)),
}


def read_llm(checks: Checks, value: Any) -> LlmSettings:
    """The ``llm`` table."""
    return _read(checks, value, ("llm",), _LLM, DEFAULT_LLM)


def read_memory(checks: Checks, value: Any) -> MemorySettings:
    """The ``memory`` table."""
    return _read(checks, value, ("memory",), _MEMORY, DEFAULT_MEMORY)


def read_conversation(checks: Checks, value: Any) -> ConversationSettings:
    """The ``conversation`` table."""
    return _read(checks, value, ("conversation",), _CONVERSATION, DEFAULT_CONVERSATION)


def read_limits(checks: Checks, value: Any) -> AgentLimits:
    """The ``limits`` table."""
    return _read(checks, value, ("limits",), _LIMITS, DEFAULT_LIMITS)


def _window(checks: Checks, value: Any, path: Key) -> Spend:
    return _read(checks, value, path, _SPEND, NO_LIMIT)


def read_budget(checks: Checks, value: Any) -> Budget:
    """The ``budget`` table: windows, or the amounts per conversation directly."""
    if value is None:
        return DEFAULT_BUDGET
    windows: Rows = {name: (name, _window) for name in ("conversation", "hour", "day")}
    found = checks.table(value, ("budget",), {**windows, **_SPEND})
    direct = {key: amount for key, amount in found.items() if key in _SPEND}
    if direct:
        if "conversation" in found:
            checks.fail(
                ("budget",), "both", "give amounts directly or under `conversation`, not both"
            )
        found = {key: spend for key, spend in found.items() if key not in direct}
        found["conversation"] = Spend(**direct)
    if any(spend.money is not None for spend in found.values()):
        checks.warn(("budget",), "`money` is not enforced: the price of a model is not known")
    return msgspec.structs.replace(DEFAULT_BUDGET, **found) if found else DEFAULT_BUDGET


def _folder(checks: Checks, value: Any, path: Key) -> str | None:
    if isinstance(value, str) and 0 < len(value) <= 255:
        clean = posixpath.normpath(value)
        if not clean.startswith(("/", "..", "~")) and not {"\0", "\\"} & set(clean):
            return sys.intern(clean)
    checks.refuse(path, value, "a folder inside the workspace, such as data")
    return None


def _mode(checks: Checks, value: Any, path: Key) -> FileMode | None:
    mode = checks.choice(value, path, ("ro", "rw"))
    return "ro" if mode == "ro" else "rw" if mode == "rw" else None


def _files(checks: Checks, value: Any, path: Key) -> dict[str, FileMode] | None:
    """A mapping of folder to mode, or a list of ``FOLDER`` and ``FOLDER:rw``."""
    given: list[tuple[Any, Any, Key]]
    if isinstance(value, dict):
        given = [(folder, mode, (*path, folder)) for folder, mode in value.items()]
    elif isinstance(value, list):
        given = []
        for index, item in enumerate(value):
            folder, _, mode = item.partition(":") if isinstance(item, str) else (item, "", "")
            given.append((folder, mode or "ro", (*path, index)))
    else:
        checks.refuse(path, value, "folders with ro or rw")
        return None
    found: dict[str, FileMode] = {}
    for folder, mode, at in given:
        clean, known = _folder(checks, folder, at), _mode(checks, mode, at)
        if clean is not None and known is not None:
            found[clean] = known
    return found


_GRANTS: Final[Rows] = {
    "files": ("files", _files),
    "hosts": ("hosts", _names(_HOST, "host names such as api.example.com")),
    "env": ("env", _names(_ENV, "names of variables")),
    "kv": ("kv", _boolean),
    "memory": ("memory", _boolean),
    "databases": (
        "databases",
        _names(_DATABASE, "names of databases, with :rw for those to write"),
    ),
}


def _per_tool(checks: Checks, value: Any, path: Key) -> dict[str, Permissions] | None:
    if not isinstance(value, dict):
        checks.refuse(path, value, "a mapping of tool to its permissions")
        return None
    return {
        sys.intern(tool): _read(checks, own, (*path, tool), _GRANTS, NO_PERMISSIONS)
        for tool, own in value.items()
    }


def read_permissions(checks: Checks, value: Any, path: Key) -> Permissions:
    """The ``permissions`` table."""
    return _read(checks, value, path, {**_GRANTS, "tools": ("tools", _per_tool)}, NO_PERMISSIONS)
