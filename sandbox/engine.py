"""What an engine must do. Engines block; threads and processes are their callers' matter."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final, Protocol

from sandbox.components.functions import Function
from sandbox.errors import Reason, SandboxError
from sandbox.grants import Grants
from sandbox.limits import Limits
from sandbox.module import Export, Import
from sandbox.services.request import Ask, nobody

FLAGS_REVISION: Final = 1
"""Raised whenever the fixed engine flags change, so that older artifacts are not loaded."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line a guest logged. ``level`` is the guest's number; ``cut`` when it was too long."""

    level: int
    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class GuestReply:
    """What one call of an agent gave: the reply, messages it sent, its log and its cost."""

    data: bytes
    sent: tuple[bytes, ...]
    logs: tuple[LogLine, ...]
    logs_dropped: int
    fuel_used: int
    wall_ms: float
    written: Mapping[bytes, bytes | None] = field(default_factory=dict)
    """Keys it set, or removed (None). Whoever called keeps them, together with the rest."""
    asked: int = 0
    """Questions to its host."""
    memory_bytes: int = 0
    """Size of its linear memory after the call; it never shrinks."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What one run of a command gave. A non-zero ``exit_code`` is a result, not an error.

    ``stderr`` holds at most ``Limits.stderr_bytes``.
    """

    stdout: bytes
    stderr: bytes
    exit_code: int
    fuel_used: int
    wall_ms: float
    logs: tuple[LogLine, ...] = ()
    logs_dropped: int = 0
    written: Mapping[bytes, bytes | None] = field(default_factory=dict)
    """Keys it set, or removed (None), where the key-value store is granted."""
    asked: int = 0
    """Questions to its host."""
    memory_bytes: int = 0
    """Size of its linear memory at its end; 0 where the engine does not tell."""


@dataclass(frozen=True, slots=True)
class ComponentResult:
    """What one call of a component's function gave.

    ``data`` is JSON. A function of type ``result<T, E>`` gives T, or E with ``failed``: that is a
    result, not an error. ``printed`` holds at most ``Limits.stderr_bytes`` of its output streams.
    """

    data: bytes
    failed: bool
    fuel_used: int
    wall_ms: float
    printed: bytes = b""
    logs: tuple[LogLine, ...] = ()
    logs_dropped: int = 0
    written: Mapping[bytes, bytes | None] = field(default_factory=dict)
    """Keys it set, or removed (None); none when it failed."""
    asked: int = 0
    """Questions to its host."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """Native code of a module, with the imports and exports it declares."""

    code: bytes
    imports: tuple[Import, ...]
    exports: tuple[Export, ...]


class Rest(Protocol):
    """What is left of a call that began: to be called once, on a thread that may be held up."""

    def __call__(self) -> GuestReply:
        """Go on to the call's end; raises ``SandboxError``."""
        ...

    def abandon(self) -> None:
        """End the guest instead; its instance is dead."""
        ...


class AgentInstance(Protocol):
    """A live instance of an agent module. Not for two threads at once."""

    def call(self, data: bytes) -> GuestReply:
        """Deliver one message; raises ``SandboxError``."""
        ...

    def begin(self, data: bytes) -> GuestReply | Rest | None:
        """Deliver one message, on a thread that must not be held up.

        Gives the reply when the guest was quick, else what is left, to be called on another
        thread. None: nothing was begun, for the guest is not known to be quick or cannot be
        stopped half-way; ``call`` it on another thread. Raises ``SandboxError``.
        """
        ...

    def close(self) -> None:
        """Free its memory; later calls raise ``instance_dead``."""
        ...

    def close_at_once(self) -> bool:
        """The same on a thread that must not be held up; False: ``close`` it on another one."""
        ...


class Engine(Protocol):
    """A WebAssembly engine that enforces every field of ``Limits``."""

    def compile(self, data: bytes) -> Compiled:
        """Validate and compile; raises ``SandboxError`` (``compile_failed``)."""
        ...

    def open_agent(
        self,
        artifact: Path,
        limits: Limits,
        grants: Grants | None = None,
        ask: Ask = nobody,
    ) -> AgentInstance:
        """Instantiate an agent module in a fresh store and run its initialisers.

        With ``grants`` the module may also import WASI: see ``run_command`` for what that needs.
        """
        ...

    def run_command(
        self,
        artifact: Path,
        *,
        stdin: bytes,
        limits: Limits,
        grants: Grants,
        args: tuple[str, ...] = (),
        ask: Ask = nobody,
    ) -> CommandResult:
        """Run a WASI preview 1 command in a fresh instance. May block beyond ``wall_ms``
        in a file operation: run it where the process can be killed.
        """
        ...

    def call_component(
        self,
        artifact: Path,
        function: Function,
        arguments: bytes,
        *,
        limits: Limits,
        grants: Grants,
        ask: Ask = nobody,
    ) -> ComponentResult:
        """Call a component's function in a fresh instance; ``arguments`` is a JSON object by the
        names of its parameters. May block beyond ``wall_ms`` in WASI: run it where the process can
        be killed.

        Raises ``SandboxError``; ``bad_arguments`` names the place of a wrong one.
        """
        ...


def engine_fingerprint(package: str = "wasmtime") -> str:
    """Engine version, fixed flags and machine: artifacts of another fingerprint do not load.

    ``package`` is the distribution the engine comes in.
    """
    return f"{package}-{metadata.version(package)}-f{FLAGS_REVISION}-{platform.machine()}"


def load_failed(artifact: Path, why: str) -> SandboxError:
    """The error for an artifact the engine does not accept or find; ``prepare`` makes a new one."""
    return SandboxError(
        Reason.HOST_ERROR,
        f"compiled module {artifact.name} does not load ({why}); prepare the module again",
        stage="load",
    )
