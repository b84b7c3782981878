"""A validated module: its bytes, content hash, kind, imports and exports."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from sandbox.abi import FUNCTIONS, WASI, Level
from sandbox.components.functions import Function, functions_of
from sandbox.components.world import check_exports, check_import
from sandbox.errors import Reason, SandboxError

MAGIC: Final = b"\0asm"
CORE_VERSION: Final = b"\x01\x00\x00\x00"
COMPONENT_VERSION: Final = b"\x0d\x00\x01\x00"

IMPORTS: Final = {(item.module, item.name): item for item in FUNCTIONS}
"""Host functions by their two names."""

AGENT_EXPORTS: Final[dict[str, str]] = {
    "memory": "memory",
    "alloc": "func(i32)->(i32)",
    "handle_message": "func(i32,i32)->(i64)",
}
"""What an agent module must export."""

COMMAND_EXPORTS: Final[dict[str, str]] = {"_start": "func()->()", "memory": "memory"}
"""What a command must export."""

AGENT_OPTIONAL_EXPORTS: Final[dict[str, str]] = {
    "dealloc": "func(i32,i32)->()",
    "_initialize": "func()->()",
}
"""What an agent module may export; used when present with this type."""


class Kind(StrEnum):
    """Which door a module has."""

    CORE_AGENT = "core-agent"
    WASI_COMMAND = "wasi-command"
    COMPONENT = "component"


@dataclass(frozen=True, slots=True)
class Import:
    """One import: two names and a type such as ``func(i32)->(i32)`` or ``memory``.

    Those of a component are an interface, a name and a type such as ``func(string)->()``.
    """

    module: str
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Export:
    """One export: a name and a type such as ``func(i32)->(i32)`` or ``memory``.

    Those of a component are its functions, each with the text of ``Function.to_text``.
    """

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Module:
    """A compiled and validated module. Made by ``Sandbox.prepare``, shared freely.

    ``sha256`` is the hex digest of ``data``. ``artifact`` is the compiled form in the cache.
    """

    data: bytes = field(repr=False)
    sha256: str
    kind: Kind
    imports: tuple[Import, ...]
    exports: tuple[Export, ...]
    artifact: Path = field(repr=False)

    @property
    def level(self) -> Level:
        """Where it has to run: what may block its host runs in a process that can be killed."""
        if self.kind is not Kind.CORE_AGENT:
            return Level.PROCESS
        for item in self.imports:
            if item.module == WASI or IMPORTS[item.module, item.name].level is Level.PROCESS:
                return Level.PROCESS
        return Level.INLINE

    @property
    def functions(self) -> tuple[Function, ...]:
        """What a component exports; empty for other kinds."""
        if self.kind is not Kind.COMPONENT:
            return ()
        return functions_of((item.name, item.type) for item in self.exports)


def content_hash(data: bytes) -> str:
    """SHA-256 of the module's bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def check_header(data: bytes, limit: int) -> None:
    """Refuse what is neither a core module nor a component, before an engine sees it.

    An engine's own entry point may accept the text format too, so the magic bytes and the
    version are required here. Raises ``SandboxError`` (``not_a_module``, ``module_too_large``).
    """
    if len(data) > limit:
        raise SandboxError(
            Reason.MODULE_TOO_LARGE,
            f"the module has {len(data)} bytes, the limit is {limit}; strip debug sections "
            "or raise the limit",
            given=len(data),
            limit=limit,
        )
    if data[:4] != MAGIC or len(data) < 8:
        raise SandboxError(
            Reason.NOT_A_MODULE,
            "no WebAssembly magic bytes at the start; give a binary .wasm file (the text "
            "format is not accepted)",
            start=data[:8].hex(),
            size=len(data),
        )
    version = data[4:8]
    if version not in (CORE_VERSION, COMPONENT_VERSION):
        raise SandboxError(
            Reason.NOT_A_MODULE,
            f"unknown WebAssembly version {version.hex()}; core modules have 01000000, "
            "components 0d000100",
            version=version.hex(),
        )


def is_component(data: bytes) -> bool:
    """Whether these bytes are a component by their header."""
    return data[:8] == MAGIC + COMPONENT_VERSION


def classify(
    imports: tuple[Import, ...], exports: tuple[Export, ...], *, component: bool = False
) -> Kind:
    """Decide the kind of a module from its imports and exports.

    Raises ``SandboxError`` with ``ungranted_import`` or ``missing_export``, naming it.
    """
    if component:
        for item in imports:
            check_import(item.module, item.name, item.type)
        check_exports(functions_of((item.name, item.type) for item in exports))
        return Kind.COMPONENT
    by_name = {item.name: item.type for item in exports}
    if "_start" in by_name and "handle_message" not in by_name:
        _check_command(imports, by_name)
        return Kind.WASI_COMMAND
    _check_agent(imports, by_name)
    return Kind.CORE_AGENT


def exported(module: Module, function: str) -> Function:
    """The function a component exports under this name. Raises ``SandboxError``."""
    if module.kind is not Kind.COMPONENT:
        raise SandboxError(
            Reason.MISSING_EXPORT,
            f"a function is called in a {Kind.COMPONENT}, this is a {module.kind}",
            kind=str(module.kind),
        )
    for item in module.functions:
        if item.export == function and not item.refused:
            return item
    names = ", ".join(item.export for item in module.functions if not item.refused)
    refused = [item for item in module.functions if item.export == function]
    why = f"cannot be called with JSON: {refused[0].refused}" if refused else "is not there"
    raise SandboxError(
        Reason.MISSING_EXPORT, f"function {function} {why}; there are {names}", export=function
    )


def _check_command(imports: tuple[Import, ...], exports: dict[str, str]) -> None:
    for item in imports:
        _check_import(item, agent=False)
    require(exports, COMMAND_EXPORTS)


def _check_agent(imports: tuple[Import, ...], exports: dict[str, str]) -> None:
    require_agent(exports)
    for item in imports:
        _check_import(item, agent=True)


def _check_import(item: Import, *, agent: bool) -> None:
    if item.module == WASI and item.type.startswith("func"):
        return
    known = IMPORTS.get((item.module, item.name))
    if known is None or (known.agents_only and not agent):
        names = ", ".join(
            f"{each.module}.{each.name}" for each in FUNCTIONS if agent or not each.agents_only
        )
        kind = "an agent module" if agent else "a WASI command"
        raise _ungranted(item, f"{kind} may import {names} and functions of {WASI}")
    if item.type != known.type:
        raise _ungranted(item, f"its type must be {known.type}")


def require_agent(exports: Mapping[str, str]) -> None:
    """Refuse exports (names to types) that are not an agent's (``missing_export``)."""
    require(exports, AGENT_EXPORTS)
    optional = AGENT_OPTIONAL_EXPORTS.items()
    require(exports, {name: wanted for name, wanted in optional if name in exports})


def require(exports: Mapping[str, str], all_of: Mapping[str, str]) -> None:
    """Refuse exports (names to types) in which one is missing or of another type."""
    for name, wanted in all_of.items():
        given = exports.get(name)
        if given != wanted:
            raise SandboxError(
                Reason.MISSING_EXPORT,
                f"the module must export {name} as {wanted}, it has {given or 'no such export'}; "
                "an agent exports memory, alloc and handle_message, a command _start and memory",
                export=name,
                wanted=wanted,
                given=given or "",
            )


def _ungranted(item: Import, rule: str) -> SandboxError:
    return SandboxError(
        Reason.UNGRANTED_IMPORT,
        f"import {item.module}.{item.name} of type {item.type} is not granted: {rule}",
        module=item.module,
        name=item.name,
        type=item.type,
    )
