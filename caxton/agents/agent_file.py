"""Agent files: Markdown with front matter, read into an ``AgentDefinition``.

Everything wrong with a file is reported at once, each with file, line, column, field, value, rule
and a suggestion. Sub-agent files of Claude Code load as they are: their keys are kept, ``model``
and ``tools`` are understood.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from caxton.agents.agent_fields import (
    CAPABILITY,
    OFFER,
    TOOL,
    read_budget,
    read_conversation,
    read_limits,
    read_llm,
    read_memory,
    read_permissions,
)
from caxton.agents.definition import (
    DEFAULT_CONVERSATION,
    DEFAULT_LLM,
    DEFAULT_MEMORY,
    AgentDefinition,
    ConversationSettings,
    LlmSettings,
    MemorySettings,
    kebab,
)
from caxton.agents.field_checks import AgentFileWarning, Checks, shown
from caxton.agents.front_matter import read_front_matter
from caxton.agents.places import FrontMatter, FrontMatterError
from caxton.errors import AgentFileInvalid
from caxton.types import Bound

if TYPE_CHECKING:
    from caxton.tools.catalog import ToolCatalog

__all__ = ["AgentFile", "AgentFileErrors", "AgentFileWarning", "parse_agent_file"]

MAX_FILE: Final = 1024 * 1024
MAX_DESCRIPTION: Final = 5_000
PRIORITY: Final = Bound("priority", int, 1, 100, default=50)
MAX_TEMPLATE: Final = 16 * 1024

KEYS: Final = frozenset(
    {
        "name", "version", "description", "capabilities", "requires", "tools", "system_prompt",
        "user_prompt_template", "llm", "parameters", "memory", "conversation", "limits",
        "permissions", "budget", "wasm", "python", "priority",
    }
)  # fmt: skip
"""The keys of an agent file."""

CLAUDE_KEYS: Final = frozenset(
    {
        "model", "color", "effort", "initialPrompt", "disallowedTools", "permissionMode",
        "maxTurns", "skills", "mcpServers", "hooks", "background", "isolation",
    }
)  # fmt: skip
OTHER_KEYS: Final = frozenset(
    {
        "author", "license", "tags", "created", "updated", "metadata", "compatibility",
        "allowed-tools", "argument-hint", "when_to_use", "globs", "alwaysApply", "category",
        "title", "mode", "id",
    }
)  # fmt: skip
"""Keys of other tools, kept without a word."""

CLAUDE_MODELS: Final = frozenset({"sonnet", "opus", "haiku"})
CLAUDE_SCOPES: Final = {"user": "global", "project": "workspace", "local": "agent"}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{1,63}")
_SEMVER = re.compile(
    r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})"
    r"(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
)
_PYTHON = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class AgentFileErrors(AgentFileInvalid):
    """Everything that is wrong with one agent file, in the order of the file.

    Its own fields are those of the first error; ``errors`` has them all.
    """

    text = "{file}:{line}:{column} `{field}`: {rule}{more}"

    def __init__(self, errors: Sequence[AgentFileInvalid]) -> None:
        self.errors: tuple[AgentFileInvalid, ...] = tuple(errors)
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(**self.errors[0].fields, more=more)

    def __reduce__(self) -> tuple[Any, ...]:
        return (AgentFileErrors, (self.errors,))


@dataclass(frozen=True, slots=True)
class AgentFile:
    """A valid agent file."""

    definition: AgentDefinition
    warnings: tuple[AgentFileWarning, ...]


def parse_agent_file(data: bytes, path: str, catalog: ToolCatalog | None = None) -> AgentFile:
    """Read the bytes of an agent file.

    Args:
        data: what is in it.
        path: how errors name it.
        catalog: the tools that are there; those that come with Caxton when not given.

    Raises:
        AgentFileErrors: it breaks a rule; all broken rules are listed.
    """
    checks = Checks(path)
    front = _read(data, checks)
    if front is None:
        raise AgentFileErrors(checks.errors)
    checks.front = front
    if front.lenient is not None:
        line, column = front.lenient.place
        checks.warnings.append(
            AgentFileWarning(
                path, line, column, "file",
                f"{front.lenient.rule}; read line by line, put the text in quotes",
            )
        )  # fmt: skip
    definition = _Definition(checks, front, catalog).build(hashlib.sha256(data).hexdigest())
    if checks.errors:
        checks.errors.sort(key=_position)
        raise AgentFileErrors(checks.errors)
    return AgentFile(definition, tuple(checks.warnings))


def _position(error: AgentFileInvalid) -> tuple[int, int]:
    return int(str(error.fields["line"])), int(str(error.fields["column"]))


def _read(data: bytes, checks: Checks) -> FrontMatter | None:
    if len(data) > MAX_FILE:
        checks.fail((), f"{len(data):,} bytes", f"{len(data):,} bytes given, at most 1 MiB allowed")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - before.rfind(b"\n")
        checks.fail((), f"byte {data[error.start]:#04x}", "not UTF-8", place=(line, column))
        return None
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        return read_front_matter(text)
    except FrontMatterError as error:
        checks.fail((), error.value, error.rule, place=error.place)
        return None


class _Definition:
    """Builds a definition from the values of the front matter, noting what is wrong."""

    def __init__(
        self, checks: Checks, front: FrontMatter, catalog: ToolCatalog | None = None
    ) -> None:
        self.checks = checks
        self.catalog = catalog
        self.front = front
        self.data = front.data
        self.foreign = any(key in self.data for key in CLAUDE_KEYS)

    def build(self, content_hash: str) -> AgentDefinition:
        checks, get = self.checks, self.data.get
        metadata = self._foreign_keys()
        name = self._name(get("name"))
        wasm, python = self._wasm(get("wasm")), self._python(get("python"))
        if wasm is not None and python is not None:
            checks.fail(("python",), python, "an agent has one of `wasm` and `python`, not both")
        description = self._text("description", MAX_DESCRIPTION)
        prompt = self._text("system_prompt", MAX_FILE)
        if prompt is None:
            prompt = "" if wasm or python else self.front.body
        if wasm is None and python is None and not prompt.strip():
            checks.warn((), "no system prompt: the body is empty and `system_prompt` is not given")
        budget = read_budget(checks, get("budget"))
        capabilities = self._capabilities(get("capabilities"), name)
        return AgentDefinition(
            name=name,
            version=self._version(get("version")),
            description=(description or "").strip(),
            capabilities=tuple(capabilities),
            capability_versions={one: text for one, text in capabilities.items() if text},
            requires=self._requires(get("requires")),
            tools=self._tools(),
            system_prompt=prompt,
            user_prompt_template=self._template(),
            llm=self._llm(),
            parameters=self._parameters(get("parameters")),
            memory=self._memory(get("memory")),
            conversation=self._conversation(get("conversation")),
            limits=read_limits(checks, get("limits")),
            permissions=read_permissions(checks, get("permissions"), ("permissions",)),
            budget=budget,
            priority=self._priority(get("priority")),
            wasm=wasm,
            python=python,
            content_hash=content_hash,
            metadata=metadata,
        )

    def _foreign_keys(self) -> dict[str, Any]:
        kept = {}
        for key, value in self.data.items():
            if key in KEYS:
                continue
            kept[key] = value
            if key not in CLAUDE_KEYS and key not in OTHER_KEYS:
                self.checks.unknown((key,), KEYS)
        return kept

    def _text(self, key: str, high: int) -> str | None:
        value = self.data.get(key)
        return None if value is None else self.checks.text(value, (key,), high)

    def _name(self, value: Any) -> str:
        if value is None:
            self.checks.fail(
                ("name",), "nothing", "missing; every agent has a name", "name: Greeter"
            )
            return ""
        if isinstance(value, str) and _NAME.fullmatch(value):
            return value
        better = (
            re.sub(r"[^A-Za-z0-9_-]+", "-", value).strip("-_0123456789")[:64]
            if isinstance(value, str)
            else ""
        )
        suggestion = better if _NAME.fullmatch(better) else ""
        self.checks.refuse(("name",), value, "a letter, then 1–63 of A–Z 0–9 _ -", suggestion)
        return ""

    def _version(self, value: Any) -> str:
        if value is None:
            return "0.1.0"
        if isinstance(value, str) and len(value) <= 64 and _SEMVER.fullmatch(value):
            return sys.intern(value)
        text = str(value)
        better = f"{text}.0" if _SEMVER.fullmatch(f"{text}.0") else ""
        self.checks.refuse(("version",), value, "a semantic version such as 1.0.0", better)
        return ""

    def _priority(self, value: Any) -> int:
        default = PRIORITY.default or 50
        if value is None:
            return default
        low, high = int(PRIORITY.low), int(PRIORITY.high)
        return self.checks.integer(value, ("priority",), low, high) or default

    def _capabilities(self, value: Any, name: str) -> dict[str, str]:
        """The capabilities, each with its version when it is not the agent's."""
        if value is None:
            return {kebab(name): ""} if name else {}
        found: dict[str, str] = {}
        allowed = "names such as data-analysis or billing@1.3"
        for item, path in self.checks.names(value, ("capabilities",), OFFER, 20, allowed):
            given, _, version = item.partition("@")
            fixed = kebab(given)
            if "_" in given:
                self.checks.warn(path, f"`{shown(item)}` is read as `{shown(fixed)}`", of_key=False)
            found[sys.intern(fixed)] = version
        if not found and value in ([], ""):
            self.checks.refuse(("capabilities",), "none", "1 to 20 capabilities")
        return found

    def _requires(self, value: Any) -> tuple[str, ...]:
        if value is None:
            return ()
        allowed = "names such as data-analysis"
        names = self.checks.names(value, ("requires",), CAPABILITY, 50, allowed)
        return tuple(sys.intern(kebab(item)) for item, _ in names)

    def _tools(self) -> tuple[str, ...]:
        value = self.data.get("tools")
        if value is None:
            if self.foreign and "tools" not in self.data:
                self.checks.warn(
                    (),
                    "no `tools:`, so it may call none; list those it may call, such as csv_parser",
                )
            return ()
        names = self.checks.names(value, ("tools",), TOOL, 100, "names such as csv_parser")
        found: dict[str, None] = {}
        for item, path in names:
            tool = sys.intern(item.removeprefix("mcp__"))
            found[tool] = None
            reason = self._unavailable(tool)
            if reason:
                self.checks.warn(path, f"`{shown(tool)}` is not available: {reason}", of_key=False)
        return tuple(found)

    def _template(self) -> str | None:
        template = self._text("user_prompt_template", MAX_TEMPLATE)
        if template is None:
            return None
        from caxton.agents.prompt import PromptTemplateInvalid, check_template

        try:
            check_template(template)
        except PromptTemplateInvalid as error:
            line, column = self.checks.place(("user_prompt_template",))
            # The text of a block (`|`) begins on the line below its key.
            inside = int(str(error.fields["line"]))
            below = "\n" in template or inside > 1
            self.checks.fail(
                ("user_prompt_template",),
                template,
                f"line {inside} of the template: {error.fields['reason']}",
                place=(line + inside - (0 if below else 1), 1 if below else column),
            )
        return template

    def _llm(self) -> LlmSettings:
        llm = read_llm(self.checks, self.data.get("llm"))
        model = self.data.get("model")
        if model is None or llm.model is not None:
            return llm
        if not isinstance(model, str) or not model.strip():
            self.checks.refuse(("model",), model, "the name of a model")
        elif model in CLAUDE_MODELS:
            self.checks.warn(
                ("model",), f"`{model}` is no model of this node; its default is used (`llm.model`)"
            )
        elif model not in ("inherit", "default"):
            return LlmSettings(
                llm.provider, model.strip()[:200], llm.temperature, llm.max_tokens, llm.tool_mode,
                llm.fallback,
            )  # fmt: skip
        return llm if self.data.get("llm") else DEFAULT_LLM

    def _memory(self, value: Any) -> MemorySettings:
        if isinstance(value, str) and value in CLAUDE_SCOPES:
            return read_memory(self.checks, {"enabled": True, "scope": CLAUDE_SCOPES[value]})
        return read_memory(self.checks, value) if value is not None else DEFAULT_MEMORY

    def _conversation(self, value: Any) -> ConversationSettings:
        turns = self.data.get("maxTurns")
        if value is None and turns is not None:
            checked = self.checks.integer(turns, ("maxTurns",), 1, 1_000)
            return ConversationSettings(max_turns=checked or 50)
        return read_conversation(self.checks, value) if value is not None else DEFAULT_CONVERSATION

    def _parameters(self, value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        self.checks.refuse(("parameters",), value, "a mapping")
        return {}

    def _wasm(self, value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(value, str) and len(value) <= 255 and value.endswith(".wasm"):
            path = posixpath.normpath(value)
            if not path.startswith(("/", "..")) and "\0" not in path and "\\" not in path:
                return path
        self.checks.refuse(("wasm",), value, "a .wasm file in the folder of the agent file")
        return None

    def _python(self, value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(value, str) and len(value) <= 200 and _PYTHON.fullmatch(value):
            return value
        self.checks.refuse(("python",), value, "`module:Class`", "echo:Echo")
        return None

    def _unavailable(self, tool: str) -> str:
        if self.catalog is None:
            from caxton.tools.catalog import ToolCatalog

            self.catalog = ToolCatalog.builtin()
        return "" if self.catalog.may_come(tool) else self.catalog.why_unavailable(tool)
