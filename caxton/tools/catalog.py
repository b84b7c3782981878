"""The catalog of tools: names, what they are for, their arguments, and where their code is.

Tools come from sources: those shipped (``builtin``), and others that come and go while the node
runs, such as an MCP server (``mcp:NAME``). Whoever owns a source puts all of its tools at once.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from caxton.errors import ToolFailed
from caxton.views import ToolView

__all__ = [
    "BUILTIN_SOURCE",
    "FOLDER_SOURCE",
    "MCP_SOURCE",
    "ToolCatalog",
    "ToolSpec",
    "specs_from",
    "specs_to",
]

BUILTIN: Final = Path(__file__).parent / "builtin"

NAMED: Final = 10
"""Most tools that are named where one is missing."""
BUILTIN_SOURCE: Final = "builtin"
FOLDER_SOURCE: Final = "folder"
"""Source of the tools in the node's tools folder."""
MCP_SOURCE: Final = "mcp:"
"""Before the name of an MCP server, the source of its tools."""

_FOREIGN: Final = frozenset(
    {
        "Agent", "AskUserQuestion", "Bash", "BashOutput", "Edit", "ExitPlanMode", "Glob", "Grep",
        "KillShell", "LS", "MultiEdit", "NotebookEdit", "NotebookRead", "Read", "Skill",
        "SlashCommand", "Task", "TodoWrite", "WebFetch", "WebSearch", "Write",
    }
)  # fmt: skip


class ToolSpec(msgspec.Struct, frozen=True):
    """One tool: what a model is told of it, and where it runs."""

    name: str
    description: str
    input_schema: dict[str, Any]
    """JSON Schema (2020-12) of its arguments, an object."""
    module: Path = Path()
    """Of a sandboxed tool: a command, a module of the agent ABI, or a component."""
    sha256: str = ""
    """Of the module's bytes, in hex."""
    source: str = BUILTIN_SOURCE
    """Who brings it: ``builtin``, ``folder``, or ``mcp:`` and the name of an MCP server."""
    sandboxed: bool = True
    """Whether it runs in the sandbox, with its limits and without what was not granted."""
    hints: dict[str, bool] = {}
    """What its source says of it: ``read_only``, ``destructive``, ``idempotent``, ``open_world``.
    Nobody checks that it is true."""
    kind: str = "wasi-command"
    """Of the module, as ``sandbox.Kind`` names it; empty for a tool that runs elsewhere."""
    function: str = ""
    """Which function of a component it is."""
    policy: str = ""
    """Text of its policy file: it gets what this asks for and its caller grants; empty for all
    that its caller grants."""


class ToolCatalog:
    """The tools that are there, by name. Of two tools with one name, the older source's is taken.

    Args:
        specs: tools that are there from the start; each belongs to the source it names.
        expected: names of MCP servers that are configured, connected or not.
        own: names of the tools that lie in the tools folder, read or not.
    """

    def __init__(
        self,
        specs: Iterable[ToolSpec] = (),
        expected: Iterable[str] = (),
        own: Iterable[str] = (),
    ) -> None:
        self._sources: dict[str, tuple[ToolSpec, ...]] = {}
        self._specs: dict[str, ToolSpec] = {}
        self._watchers: list[Callable[[], None]] = []
        self.expected = frozenset(expected)
        self.calls: dict[str, int] = {}
        """How often each tool was called since the node started."""
        self.problems: dict[str, str] = {}
        """Why a tool of the tools folder, or its newest version, cannot be called."""
        self._own = frozenset(own)
        self.revision = 0
        """Grows with each change."""
        for spec in specs:
            self._sources[spec.source] = (*self._sources.get(spec.source, ()), spec)
        self._index()

    @staticmethod
    @functools.cache
    def builtin() -> ToolCatalog:
        """The tools that come with Caxton. Read once, and not to be changed.

        Raises:
            ToolFailed: the installation is damaged.
        """
        return ToolCatalog.read(BUILTIN)

    @classmethod
    def live(cls, expected: Iterable[str] = (), own: Iterable[str] = ()) -> ToolCatalog:
        """A catalog of a process: the tools that come with Caxton, and room for others."""
        return cls(cls.builtin().specs, expected, own)

    @classmethod
    def read(cls, folder: Path) -> ToolCatalog:
        """The tools below ``folder``: one folder each, with ``tool.json`` and ``NAME.wasm``.

        Raises:
            ToolFailed: a description or its module cannot be read.
        """
        return cls(_read(path) for path in sorted(folder.glob("*/tool.json")))

    def _index(self) -> None:
        found: dict[str, ToolSpec] = {}
        for specs in self._sources.values():
            for spec in specs:
                found.setdefault(spec.name, spec)
        self._specs = found
        self.revision += 1

    def put(self, source: str, specs: Iterable[ToolSpec]) -> bool:
        """All tools of ``source``, in place of those it had; none of them when empty.

        Returns whether anything changed; those who watch are told then.
        """
        given = tuple(specs)
        if self._sources.get(source, ()) == given:
            return False
        if given:
            self._sources[source] = given
        else:
            self._sources.pop(source, None)
        self._index()
        for told in self._watchers:
            told()
        return True

    def watch(self, told: Callable[[], None]) -> None:
        """Have ``told`` called after each change."""
        self._watchers.append(told)

    @property
    def sources(self) -> tuple[str, ...]:
        """Those who have brought tools."""
        return tuple(self._sources)

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """All tools."""
        return tuple(self._specs.values())

    def views(self) -> list[ToolView]:
        """All tools by name, and those of the tools folder that cannot be called."""
        found = {
            name: ToolView(
                name, one.description, one.source, one.sandboxed, one.input_schema,
                self.calls.get(name, 0), self.problems.get(name, ""),
            )
            for name, one in self._specs.items()
        }  # fmt: skip
        for name, problem in self.problems.items():
            found.setdefault(name, ToolView(name, "", FOLDER_SOURCE, True, problem=problem))
        return [found[name] for name in sorted(found)]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tools."""
        return tuple(self._specs)

    def get(self, name: str) -> ToolSpec | None:
        """The tool of this name, if it is there; ``mcp__`` before the name is passed over."""
        return self._specs.get(name) or self._specs.get(name.removeprefix("mcp__"))

    def of_server(self, name: str) -> tuple[ToolSpec, ...]:
        """The tools of the MCP server that ``server__*`` or ``server`` names."""
        server = name.removeprefix("mcp__").removesuffix("__*")
        return self._sources.get(f"{MCP_SOURCE}{server}", ())

    def available(self, names: Iterable[str]) -> tuple[tuple[ToolSpec, ...], dict[str, str]]:
        """Of the ``names`` an agent lists: those that are there, and why others are not."""
        found: dict[str, ToolSpec] = {}
        missing = {}
        for name in names:
            spec = self.get(name)
            for one in (spec,) if spec is not None else self.of_server(name):
                found.setdefault(one.name, one)
            reason = self.why_unavailable(name)
            if reason:
                missing[name] = reason
        return tuple(found.values()), missing

    def may_come(self, name: str) -> bool:
        """Whether ``name`` is of an MCP server that is configured, or of the tools folder."""
        if any(name == one or name.startswith(f"{one}_") for one in self._own):
            return True
        return name.removeprefix("mcp__").partition("__")[0] in self.expected

    def why_unavailable(self, name: str) -> str:
        """Why a tool cannot be called, in words; empty when it can."""
        if self.get(name) is not None or self.of_server(name):
            return ""
        if name in self.problems:
            return self.problems[name][:200]
        base = name.partition("(")[0]
        if base == "Bash":
            return "shells are never run, tools live in a sandbox"
        if base in _FOREIGN:
            return "it belongs to another program"
        bare = name.removeprefix("mcp__")
        server = bare.partition("__")[0]
        if self._sources.get(f"{MCP_SOURCE}{server}"):
            return f"the MCP server `{server[:24]}` has no tool of this name"
        if server in self.expected:
            return f"the MCP server `{server[:24]}` is not connected"
        if "__" in bare:
            return f"no MCP server `{server[:24]}` is connected"
        names = self.names[:NAMED]
        more = f" and {len(self.names) - NAMED} more" if len(self.names) > NAMED else ""
        return f"not installed; there is {', '.join(names) or 'none'}{more}"


def specs_to(specs: Iterable[ToolSpec]) -> list[Any]:
    """Tools as plain values, to tell another process."""
    return [msgspec.to_builtins(spec, enc_hook=str) for spec in specs]


def specs_from(value: Any) -> tuple[ToolSpec, ...]:
    """The tools that ``specs_to`` made plain values of.

    Raises:
        msgspec.ValidationError: they are none.
    """
    return msgspec.convert(value, tuple[ToolSpec, ...], dec_hook=_path)


def _path(kind: type, value: Any) -> Any:
    return kind(value)


def _read(path: Path) -> ToolSpec:
    try:
        described = json.loads(path.read_bytes())
        module = path.parent / f"{path.parent.name}.wasm"
        recorded = module.with_name(f"{module.name}.sha256")
        digest = (
            recorded.read_text().split()[0]
            if recorded.is_file()
            else hashlib.sha256(module.read_bytes()).hexdigest()
        )
        spec = ToolSpec(
            name=described["name"],
            description=described["description"],
            input_schema=described["inputSchema"],
            module=module,
            sha256=digest,
        )
        if not module.is_file():
            raise FileNotFoundError(f"{module.name} is missing")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ToolFailed(tool=path.parent.name, reason="not readable", detail=str(error)) from error
    return spec
