"""Live instances of agent modules."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

from sandbox.call_errors import check_message
from sandbox.engine import GuestReply
from sandbox.errors import Reason, SandboxError
from sandbox.grants import Grants
from sandbox.host import exchange
from sandbox.limits import Limits
from sandbox.module import require_agent
from sandbox.services.request import Ask, nobody
from sandbox.wasmtime_engine.commands import agent_wasi
from sandbox.wasmtime_engine.platform import Platform, Run, instantiate


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

    def call(self, data: bytes) -> GuestReply:
        """Deliver one message and take the reply. See ``AgentInstance``."""
        if not self._busy.acquire(blocking=False):
            raise SandboxError(
                Reason.HOST_ERROR, "the guest is in a call; calls on one guest follow each other"
            )
        try:
            return self._call(data)
        finally:
            self._busy.release()

    def close(self) -> None:
        """Free the instance; waits for a call in flight."""
        with self._busy:
            self._kill("it was closed")

    def _call(self, data: bytes) -> GuestReply:
        limits = self._limits
        if self._dead is not None:
            raise SandboxError(
                Reason.INSTANCE_DEAD,
                f"the guest ended earlier ({self._dead}); open a new one",
                cause=self._dead,
            )
        check_message("the message", data, limits)
        run: Run | None = None
        try:
            with self._platform.run(self._store, limits, self._ask) as run:
                reply = self._exchange(data=data)
                return GuestReply(
                    reply,
                    tuple(run.host.sent),
                    tuple(run.host.logs),
                    run.host.logs_dropped,
                    run.fuel_used(),
                    run.wall_ms(),
                    run.host.written,
                    run.host.asked,
                    self._memory.size(),
                )
        except SandboxError as error:
            if run is None or run.trapped or error.reason is Reason.BAD_POINTER:
                self._kill(error.reason)
            raise

    def _kill(self, why: str) -> None:
        if self._dead is None:
            self._dead = str(why)
            self._store.close()
