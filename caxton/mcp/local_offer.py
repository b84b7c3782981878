"""What a node offers to MCP clients: tools, agents by capability, the memory, conversations."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import mcp_types as types
import orjson
from mcp.shared.exceptions import MCPError

from caxton.agents.behaviour import ToolRunner
from caxton.agents.definition import Permissions
from caxton.agents.directory import Directory
from caxton.api.entry import Entry
from caxton.errors import CaxtonError, ConversationNotFound, ValidationError
from caxton.mcp.asking import Asking, ask_schema, ask_tool, send_tool
from caxton.mcp.foreign_tools import tool_name
from caxton.mcp.memory_offer import AGENT, MemoryOffer, agent_of
from caxton.mcp.memory_tools import MEMORY_TOOLS, schema_of
from caxton.mcp.memory_tools import tools as memory_tools
from caxton.mcp.results import error_result, tool_result
from caxton.mcp.server import Report
from caxton.memory.client import Memory
from caxton.memory.model import ScopeKind
from caxton.tools.arguments import wrong_arguments
from caxton.tools.catalog import ToolCatalog, ToolSpec
from caxton.types import parse_id

__all__ = ["LocalOffer", "Parts"]

CALLS: Final = 1_000
"""Calls at a time; more are refused."""
TICK_S: Final = 1.0
"""Between two notes of progress."""
LISTED: Final = 50
"""Conversations that are listed."""
MESSAGES: Final = 200
"""Newest messages of a conversation that is read."""
OWNER: Final = ":mcp"
"""Whose turn and whose keys a tool has that a client calls; no agent is called so."""
CONVERSATIONS: Final = "caxton://conversations/"
NO_GRANT: Final = (
    "Tools that are called over MCP reach no folder, no host and no variable here; the node's "
    "operator grants that with the setting mcp.permissions."
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What an offer is made of."""

    entry: Entry
    directory: Directory
    catalog: ToolCatalog
    runner: ToolRunner
    offered: str = "sandboxed"
    """``sandboxed``, ``all``, ``none``, or names with commas between."""
    permissions: Permissions = field(default_factory=Permissions)
    timeout_ms: int = 120_000
    memory: bool = True
    """Whether the memory tools are offered."""


class LocalOffer:
    """See the module. Implements ``caxton.mcp.server.Offer``."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._asking = Asking(parts.entry, parts.timeout_ms)
        self._calls = 0
        self._made = (-1, -1)
        self._tools: tuple[types.Tool, ...] = ()
        self._specs: dict[str, ToolSpec] = {}
        self._capabilities: dict[str, str] = {}

    # --- tools -------------------------------------------------------------------------------

    def refresh(self) -> str:
        """Look again at what there is; a text that changes when clients would see a change."""
        parts = self.parts
        now = (parts.catalog.revision, parts.directory.offers.generation)
        if now != self._made:
            self._made = now
            self._make()
        listed = "\n".join(one.model_dump_json() for one in self._tools)
        return hashlib.sha256(listed.encode()).hexdigest()

    def _current(self) -> tuple[types.Tool, ...]:
        parts = self.parts
        if self._made != (parts.catalog.revision, parts.directory.offers.generation):
            self.refresh()
        return self._tools

    def _make(self) -> None:
        directory = self.parts.directory
        found = [send_tool()]
        remembering = memory_tools() if self._remembers else []
        self._specs, self._capabilities = {}, {}
        # Prompts name the memory's tools: it is others that are called otherwise.
        taken = {one.name for one in (*found, *remembering)}
        for spec in self._offered():
            name = tool_name("", spec.name, taken)
            taken.add(name)
            self._specs[name] = spec
            found.append(_listed(name, spec))
        for capability in directory.capabilities():
            records = directory.records(capability)
            if records:
                name = tool_name("ask_", capability, taken)
                taken.add(name)
                self._capabilities[name] = capability
                found.append(ask_tool(name, capability, records))
        self._tools = (*found, *remembering)

    def _offered(self) -> tuple[ToolSpec, ...]:
        catalog, given = self.parts.catalog, self.parts.offered.strip()
        if given == "none":
            return ()
        if given == "all":
            return catalog.specs
        if given == "sandboxed":
            return tuple(spec for spec in catalog.specs if spec.sandboxed)
        names = [one.strip() for one in given.split(",") if one.strip()]
        return catalog.available(names)[0]

    async def tools(self) -> Sequence[types.Tool]:
        """Every tool: talking to agents first, then the node's tools."""
        return self._current()

    def schema(self, name: str) -> Mapping[str, Any] | None:
        """The input schema of a tool."""
        self._current()
        spec = self._specs.get(name)
        if spec is not None:
            return spec.input_schema
        if name in self._capabilities:
            return ask_schema()
        return schema_of(name) if self._remembers else None

    async def call(
        self, name: str, arguments: dict[str, Any], report: Report, request: Any
    ) -> types.CallToolResult:
        """Call a tool, or have an agent answer."""
        self._current()
        if self._calls >= CALLS:
            return error_result("busy", f"{CALLS:,} calls are under way; try again later")
        self._calls += 1
        try:
            async with _progress(report, name, self.parts.timeout_ms / 1_000):
                return await self._run(name, arguments, request)
        except CaxtonError as error:
            return error_result(error.code, f"{error.detail}. {error.remedy}")
        finally:
            self._calls -= 1

    async def _run(
        self, name: str, arguments: dict[str, Any], request: Any
    ) -> types.CallToolResult:
        spec = self._specs.get(name)
        if spec is not None:
            return await self._run_tool(spec, arguments)
        if name == "caxton_send":
            return await self._asking.send(arguments, request)
        memory = self.parts.entry.memory
        if self.parts.memory and memory is not None and name in MEMORY_TOOLS:
            return await self._remember(memory, name, arguments, request)
        capability = self._capabilities.get(name)
        if capability is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {name[:100]}")
        return await self._asking.ask(capability, arguments, request)

    async def _run_tool(self, spec: ToolSpec, arguments: dict[str, Any]) -> types.CallToolResult:
        wrong = wrong_arguments(spec, arguments)
        if wrong:
            return error_result("bad_arguments", wrong)
        granted = self.parts.permissions.for_tool(spec.name)
        result = await self.parts.runner.call(
            spec,
            arguments,
            permissions=granted,
            timeout_ms=self.parts.timeout_ms,
            owner=OWNER,
        )
        hint = NO_GRANT if spec.sandboxed and not granted else ""
        return tool_result(result, hint)

    @property
    def _remembers(self) -> bool:
        return self.parts.memory and self.parts.entry.memory is not None

    async def _remember(
        self, memory: Memory, name: str, arguments: dict[str, Any], request: Any
    ) -> types.CallToolResult:
        """Call a memory tool: in the workspace, or as the agent that the client speaks for."""
        entry = self.parts.entry
        agent = agent_of(request)
        if not agent:
            return await MemoryOffer(memory, str(ScopeKind.WORKSPACE)).call(name, arguments)
        own = memory.of(entry.agent_name(entry.agent_id(agent, AGENT)))
        return await MemoryOffer(own, None).call(name, arguments)

    # --- conversations -----------------------------------------------------------------------

    async def resources(self) -> Sequence[types.Resource]:
        """The conversations with the newest activity."""
        return [
            types.Resource(
                uri=f"{CONVERSATIONS}{one.id}",
                name=f"conversation {one.id}",
                description=f"{one.messages} messages between {', '.join(one.participants)[:200]}",
                mime_type="application/json",
            )
            for one in await self.parts.entry.conversations(LISTED)
        ]

    async def templates(self) -> Sequence[types.ResourceTemplate]:
        """How conversations are named."""
        return [
            types.ResourceTemplate(
                uri_template=f"{CONVERSATIONS}{{conversation_id}}",
                name="conversation",
                description=f"A conversation with its newest messages, at most {MESSAGES}",
                mime_type="application/json",
            )
        ]

    async def read(self, uri: str) -> types.ReadResourceResult:
        """One conversation."""
        import msgspec

        try:
            key = parse_id(uri.removeprefix(CONVERSATIONS), "uri")
            if not uri.startswith(CONVERSATIONS):
                raise ValidationError(field="uri", value=uri, allowed=f"{CONVERSATIONS}ID")
            found = await self.parts.entry.conversation(key, MESSAGES)
        except (ValidationError, ConversationNotFound) as error:
            raise MCPError(types.INVALID_PARAMS, error.detail, {"uri": uri[:300]}) from None
        text = orjson.dumps(msgspec.to_builtins(found), default=str).decode()
        content = types.TextResourceContents(uri=uri, mime_type="application/json", text=text)
        return types.ReadResourceResult(contents=[content])


def _listed(name: str, spec: ToolSpec) -> types.Tool:
    """A tool of the node as clients see it."""
    hints: dict[str, Any] = {f"{key}_hint": value for key, value in spec.hints.items()}
    description = spec.description[:1_000]
    if spec.sandboxed:
        # Nothing is granted to it unless a policy says so, and a fresh instance has no state.
        hints.setdefault("open_world_hint", False)
    else:
        hints.setdefault("open_world_hint", True)
        description += f"\n\nNot sandboxed: it runs on another server ({spec.source})."
    return types.Tool(
        name=name,
        description=description,
        input_schema=spec.input_schema,
        annotations=types.ToolAnnotations(**hints),
        _meta={"caxton/source": spec.source, "caxton/sandboxed": spec.sandboxed},
    )


@contextlib.asynccontextmanager
async def _progress(
    report: Report,
    name: str,
    total_s: float,
    clock: Callable[[], float] | None = None,
) -> AsyncIterator[None]:
    """While the block lasts, tell the client each second how long it has lasted."""
    now = clock or asyncio.get_running_loop().time
    begun = now()

    async def tell() -> None:
        while True:
            passed = now() - begun
            # A number that grows, as the protocol asks, and never quite arrives.
            await report(passed, None, f"{name}: {passed:.0f} s of at most {total_s:.0f} s")
            await asyncio.sleep(TICK_S)

    telling = asyncio.get_running_loop().create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait([telling])
