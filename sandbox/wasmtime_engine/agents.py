"""Live instances of agent modules.

An agent in a worker is called plainly: its thread has nothing else to do. One in this process gives
way (see ``slices``), so that a short call needs no other thread and a long one can go on there.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Final

from wasmtime import Trap, WasmtimeError

from sandbox.call_errors import check_message, timed_out
from sandbox.engine import GuestReply
from sandbox.errors import Reason, SandboxError
from sandbox.grants import Grants
from sandbox.host import HostAbort, exchange, exchange_in_slices
from sandbox.limits import Limits
from sandbox.module import require_agent
from sandbox.services.request import Ask, nobody
from sandbox.wasmtime_engine.calls import (
    BRIEF_BYTES,
    BRIEF_FUEL,
    BRIEF_MEMORY,
    Exports,
    Slices,
)
from sandbox.wasmtime_engine.commands import agent_wasi
from sandbox.wasmtime_engine.platform import Platform, Run, SlicedRun, instantiate

MOST_BRIEF_FUEL: Final = 4 * BRIEF_FUEL
"""Whoever used more without giving way has code without loop and call that lasts."""

FOR_GOOD: Final = sys.maxsize

AWAY_CALLS: Final = (16, 1_024)
"""How many quick calls a guest makes elsewhere after one that was not: at first, and at most."""

Parts = Generator[None, None, bytes]


class WasmtimeAgent:
    """A live instance of an agent module. Dead after any trap, abort or bad pointer."""

    def __init__(
        self,
        platform: Platform,
        artifact: Path,
        limits: Limits,
        grants: Grants | None = None,
        ask: Ask = nobody,
    ) -> None:
        self._platform = platform
        self._limits = limits
        self._dead: str | None = None
        self._busy = threading.Lock()
        self._ask = ask
        # The first call is made elsewhere: a stack of its own would double what a guest costs that
        # is opened for one message.
        self._away = 1
        self._next_away = AWAY_CALLS[0]
        self._store = platform.store(limits)
        if grants is not None:
            self._store.set_wasi(agent_wasi(grants))
        try:
            loaded = platform.prepared(artifact)
            require_agent(loaded.exports)
            with platform.run(self._store, limits, ask):
                exports = instantiate(loaded, self._store, limits)
                initialize = exports.function("_initialize")
                if initialize is not None:
                    initialize()
        except SandboxError:
            self._store.close()
            raise
        alloc, handle, dealloc = map(exports.function, ("alloc", "handle_message", "dealloc"))
        if alloc is None or handle is None:  # ``require_agent`` has seen them
            raise LookupError("alloc or handle_message")
        self._memory = exports.memory()
        self._exchange = partial(exchange, self._memory, alloc, handle, dealloc, limits=limits)
        self._exports: Exports | None = exports if grants is None else None
        self._slices: Slices | None = None

    def call(self, data: bytes) -> GuestReply:
        """Deliver one message and take the reply. See ``AgentInstance``."""
        self._take()
        try:
            if self._slices is None:
                reply = self._call(data)
            else:
                reply = self._run_on(*self._start(data, brief=False), first=True)
            self._away -= reply.fuel_used <= BRIEF_FUEL
            return reply
        finally:
            self._busy.release()

    def begin(self, data: bytes) -> GuestReply | RestOfCall | None:
        """See ``AgentInstance``."""
        if (
            self._away > 0
            or self._dead is not None
            or len(data) > BRIEF_BYTES
            or self._memory.size() > BRIEF_MEMORY
        ):
            return None
        self._take()
        kept = False
        try:
            if self._exports is not None:
                self._slices, self._exports = self._exports.slices(), None
            if self._slices is None:
                self._away = FOR_GOOD
                return None
            run, parts = self._start(data, brief=True)
            reply = self._step(run, parts)
            if reply is None and not run.spent:
                reply = self._step(run, parts)
            if reply is None:
                self._send_away()
                kept = True
                return RestOfCall(self, run, parts)
            if reply.fuel_used > MOST_BRIEF_FUEL:
                self._away = FOR_GOOD
            return reply
        finally:
            if not kept:
                self._busy.release()

    def close(self) -> None:
        """Free the instance; waits for a call in flight."""
        with self._busy:
            self._kill("it was closed")

    def close_at_once(self) -> bool:
        """See ``AgentInstance``."""
        if self._dead is not None:
            return True
        if self._memory.size() > BRIEF_MEMORY or not self._busy.acquire(blocking=False):
            return False
        try:
            self._kill("it was closed")
        finally:
            self._busy.release()
        return True

    def finish(self, run: SlicedRun, parts: Parts) -> GuestReply:
        """Go on with a call that began on a thread that must not be held up."""
        try:
            run.go_on()
            if self._slices is not None:
                self._slices.keep_lock = False
            return self._run_on(run, parts)
        finally:
            self._busy.release()

    def abandon(self, parts: Parts) -> None:
        """End such a call."""
        try:
            parts.close()
            self._kill("its call was abandoned")
        finally:
            self._busy.release()

    def _take(self) -> None:
        if not self._busy.acquire(blocking=False):
            raise SandboxError(
                Reason.HOST_ERROR, "the guest is in a call; calls on one guest follow each other"
            )

    def _check(self, data: bytes) -> None:
        if self._dead is not None:
            raise SandboxError(
                Reason.INSTANCE_DEAD,
                f"the guest ended earlier ({self._dead}); open a new one",
                cause=self._dead,
            )
        check_message("the message", data, self._limits)

    def _call(self, data: bytes) -> GuestReply:
        self._check(data)
        run: Run | None = None
        try:
            with self._platform.run(self._store, self._limits, self._ask) as run:
                return self._reply(run, self._exchange(data=data))
        except SandboxError as error:
            if run is None or run.trapped or error.reason is Reason.BAD_POINTER:
                self._kill(error.reason)
            raise

    def _start(self, data: bytes, *, brief: bool) -> tuple[SlicedRun, Parts]:
        """A call that gives way, before its first step."""
        self._check(data)
        slices = self._slices
        if slices is None:
            raise LookupError("a guest that gives way")
        run = SlicedRun(
            self._store, self._limits, self._ask, self._platform.engine.increment_epoch, slices,
            brief=brief,
        )  # fmt: skip
        parts = exchange_in_slices(
            self._memory, slices.alloc, slices.handle_message, slices.dealloc, data, self._limits
        )
        return run, parts

    def _run_on(self, run: SlicedRun, parts: Parts, *, first: bool = False) -> GuestReply:
        """Run a call to its end or its deadline, whichever is first."""
        with self._platform.ticker.running():
            if first:
                run.keep_time()
            while (reply := self._step(run, parts)) is None:
                if time.monotonic() >= run.deadline:
                    parts.close()
                    self._kill(Reason.TIMEOUT)
                    raise timed_out(self._limits)
            return reply

    def _step(self, run: SlicedRun, parts: Parts) -> GuestReply | None:
        """Go on until the guest gives way (None) or is done."""
        current = self._platform.current
        current.run = run
        try:
            next(parts)
        except StopIteration as done:
            return self._reply(run, done.value)
        except (Trap, WasmtimeError, HostAbort) as raised:
            error = run.error(raised)
            self._kill(error.reason)
            raise error from None
        except SandboxError as error:
            if error.reason is Reason.BAD_POINTER:
                self._kill(error.reason)
            raise
        finally:
            current.run = None
        return None

    def _reply(self, run: Run, data: bytes) -> GuestReply:
        host = run.host
        return GuestReply(
            data,
            tuple(host.sent),
            tuple(host.logs),
            host.logs_dropped,
            run.fuel_used(),
            run.wall_ms(),
            host.written,
            host.asked,
            self._memory.size(),
        )

    def _send_away(self) -> None:
        self._away = self._next_away
        self._next_away = min(2 * self._next_away, AWAY_CALLS[1])

    def _kill(self, why: str) -> None:
        if self._dead is None:
            self._dead = str(why)
            self._store.close()


class RestOfCall:
    """``Rest`` of a call of one agent."""

    __slots__ = ("_agent", "_left", "_run")

    def __init__(self, agent: WasmtimeAgent, run: SlicedRun, parts: Parts) -> None:
        self._agent = agent
        self._run = run
        self._left = parts

    def __call__(self) -> GuestReply:
        """See ``Rest``."""
        return self._agent.finish(self._run, self._left)

    def abandon(self) -> None:
        """See ``Rest``."""
        self._agent.abandon(self._left)
