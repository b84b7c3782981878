"""Python agents: a class with a ``handle`` method, from a file beside the agent file.

::

    from caxton import Agent

    class Echo(Agent):
        def handle(self, message, context):
            return message.text

``handle`` may be ``async``. It runs on the node's event loop: code that blocks belongs into a
thread (``asyncio.to_thread``). The agent's code is trusted; untrusted code is a WASM agent.
"""

from __future__ import annotations

import abc
import asyncio
import importlib
import inspect
import itertools
import sys
import types
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from caxton.agents.behaviour import Context, Outgoing
from caxton.agents.definition import AgentDefinition
from caxton.errors import AgentFileInvalid, Timeout
from caxton.memory.client import Memory
from caxton.message import Message, Performative, parse_performative

__all__ = ["Agent", "PythonBehaviour", "Reply", "load_class"]

RESPONSE_TIMEOUT_MS: Final = 120_000
MAX_SOURCE: Final = 4 * 1024 * 1024

_numbers = itertools.count(1)
_INFORM: Final = Performative.INFORM


class Reply(msgspec.Struct, frozen=True):
    """An answer with an act of its own: ``Reply("refuse", "not today")``."""

    performative: Performative | str
    content: str | bytes | dict[str, Any] | list[Any] = ""
    """Text, bytes, or what is sent as JSON."""


Handled = None | str | bytes | dict[str, Any] | list[Any] | Reply | Outgoing
"""What ``handle`` may give back. Nothing: no answer. A text, bytes, or a JSON value: an INFORM with
it. A list of ``Reply`` and ``Outgoing``: all of them. Another list is a JSON value."""


class Agent(abc.ABC):
    """Base class of Python agents. One instance serves all conversations of one agent version."""

    definition: AgentDefinition
    """What the agent file says; set before ``on_start``."""
    memory: Memory | None = None
    """What the agent remembers, within the scope of its file; set before ``on_start``. None where
    the file does not enable it, or the node has none. See ``caxton.memory.client.Memory``."""

    @abc.abstractmethod
    def handle(self, message: Message, context: Context) -> Handled | Awaitable[Handled]:
        """Handle one message; what it returns is the answer, see ``Handled``.

        What it raises is tried again with a fresh instance, then becomes a FAILURE.
        """

    def on_start(self) -> Awaitable[None] | None:
        """Called once, before the first message."""
        return None

    def on_stop(self) -> Awaitable[None] | None:
        """Called once, when the version is taken out of service."""
        return None


class PythonBehaviour:
    """One version of a Python agent.

    Args:
        definition: what its file says.
        factory: the agent's class.
        module: the name under which its module was loaded for it alone.
        memory: on behalf of the agent; None where it has none.
    """

    def __init__(
        self,
        definition: AgentDefinition,
        factory: type[Any],
        module: str | None = None,
        memory: Memory | None = None,
    ) -> None:
        limits = definition.limits
        self.concurrency = limits.concurrency or 1
        self.definition = definition
        self._factory = factory
        self._module = module
        self._memory = memory
        self._timeout_ms = limits.response_timeout_ms or RESPONSE_TIMEOUT_MS
        self._agent: Any = None
        self._handle: Any = self._not_started

    async def start(self) -> None:
        """Make the agent and have it start."""
        if self._agent is not None:
            return
        agent = self._factory()
        agent.definition = self.definition
        if self._memory is not None:
            agent.memory = self._memory
        started = agent.on_start() if hasattr(agent, "on_start") else None
        if inspect.isawaitable(started):
            await self._timely(started, "start")
        self._agent = agent
        self._handle = agent.handle

    def handle(
        self, message: Message, context: Context
    ) -> Sequence[Outgoing] | Awaitable[Sequence[Outgoing]]:
        """Hand one message to the agent."""
        result = self._handle(message, context)
        if result is None:
            return ()
        if type(result) is str:
            return (Outgoing(_INFORM, result.encode()),)
        if inspect.isawaitable(result):
            return self._later(result)
        return _outgoing(result)

    async def _later(self, result: Awaitable[Any]) -> Sequence[Outgoing]:
        given = await self._timely(result, "answer")
        return () if given is None else _outgoing(given)

    async def _timely(self, result: Awaitable[Any], what: str) -> Any:
        scope = asyncio.timeout(self._timeout_ms / 1_000)
        try:
            async with scope:
                return await result
        except TimeoutError as error:
            if scope.expired():
                raise Timeout(what=what, timeout_ms=self._timeout_ms) from error
            raise

    def _not_started(self, _message: Message, _context: Context) -> Any:
        raise RuntimeError(f"{self.definition.name} was not started")

    async def close(self) -> None:
        """Have the agent stop, and forget its module."""
        agent, self._agent = self._agent, None
        self._handle = self._not_started
        try:
            stopped = agent.on_stop() if hasattr(agent, "on_stop") else None
            if inspect.isawaitable(stopped):
                await self._timely(stopped, "stop")
        finally:
            if self._module is not None:
                sys.modules.pop(self._module, None)


def _outgoing(result: Any) -> Sequence[Outgoing]:
    if isinstance(result, list | tuple) and result and all(map(_is_message, result)):
        return tuple(_one(item) for item in result)
    return (_one(result),)


def _is_message(item: Any) -> bool:
    return isinstance(item, Reply | Outgoing)


def _one(result: Any) -> Outgoing:
    if isinstance(result, Outgoing):
        return result
    if isinstance(result, Reply):
        return Outgoing(parse_performative(result.performative), _content(result.content))
    return Outgoing(_INFORM, _content(result))


def _content(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise TypeError(
            f"handle returned {type(value).__name__}: {error}; return None, text, bytes, "
            "a JSON value, Reply, Outgoing or a list of these two"
        ) from error


# --- loading -------------------------------------------------------------------------------------


def load_class(target: str, folder: Path, file: str) -> tuple[type[Any], str | None]:
    """The class that ``module:Class`` names, and the module's own name when it was loaded afresh.

    A ``.py`` beside the agent file comes first; it is read anew on each call, so a changed file
    takes effect. Else the module is imported as usual.

    Args:
        target: what the agent file says.
        folder: the folder of the agent file.
        file: the agent file, for errors.

    Raises:
        AgentFileInvalid: there is no such module or class, or the module fails; names file and
            line.
    """
    name, _, attribute = target.partition(":")
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    if path.is_file():
        module, own = _run_file(path, name)
    else:
        module, own = _import(name, file), None
    found = getattr(module, attribute, None)
    if isinstance(found, type) and callable(getattr(found, "handle", None)):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        if not missing:
            return found, own
        rule = f"`{attribute}` does not define {missing}"
    else:
        rule = f"`{name}` has no class `{attribute}` with a method `handle`"
    if own is not None:
        sys.modules.pop(own, None)
    raise _invalid(file, 1, rule)


def _invalid(file: str, line: int, rule: str, column: int = 1) -> AgentFileInvalid:
    return AgentFileInvalid(
        file=file, line=line, column=column, field="python", value="", rule=rule, suggestion=""
    )


def _run_file(path: Path, name: str) -> tuple[types.ModuleType, str]:
    """Run a file as a module under a name of its own; no byte code is written or trusted.

    Cached byte code is matched by second and size, so a quick edit could bring back the old code.
    """
    shown = path.name
    own = f"caxton_agent_{next(_numbers)}_{name.replace('.', '_')}"
    module = types.ModuleType(own)
    module.__file__ = str(path)
    try:
        source = path.read_bytes()
        if len(source) > MAX_SOURCE:
            raise _invalid(shown, 1, f"{len(source):,} bytes; at most {MAX_SOURCE:,} allowed")
        code = compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise _invalid(
            shown, error.lineno or 1, f"{error.msg} (Python syntax)", max(1, error.offset or 1)
        ) from error
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise _invalid(shown, 1, f"not readable: {error}") from error
    # Dataclasses and msgspec look their module up by name while a class is made, and later.
    sys.modules[own] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 - an agent's code is trusted, see the module's text
    except (Exception, SystemExit) as error:
        sys.modules.pop(own, None)
        raise _invalid(
            shown, _line_in(error, path), f"{type(error).__name__}: {error}"[:79]
        ) from error
    return module, own


def _line_in(error: BaseException, path: Path) -> int:
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _import(name: str, file: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            rule = f"no `{name.replace('.', '/')}.py` beside the file and no module `{name}`"
            raise _invalid(file, 1, rule) from error
        raise _invalid(file, 1, f"`{name}` does not import: {error}") from error
    except (Exception, SystemExit) as error:
        raise _invalid(file, 1, f"`{name}` does not import: {error}") from error
