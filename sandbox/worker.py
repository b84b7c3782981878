"""The worker process: ``python -m sandbox.worker``. Runs guests one call at a time.

Frames come in on standard input and answers go out on standard output. ``op`` says what a frame
asks for: ``command`` runs a WASI command, ``component`` calls a component's function; ``open``,
``call`` and ``close`` are for one agent that lives in this worker; ``answer`` is the host's answer
to a question of the guest that runs. The process ends when its input closes, whatever its guest is
doing: the main thread only waits for that, guests have a thread of their own. What this process
cannot stop (a guest blocked in a file operation) its parent kills.
"""

from __future__ import annotations

import gc
import os
import select
import sys
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, Final

from sandbox.child_process import restrict
from sandbox.components.functions import Function
from sandbox.engine import AgentInstance, Engine
from sandbox.engines import EngineName, check_engine, make_engine
from sandbox.errors import Reason, SandboxError
from sandbox.frames import PREFIX, Header, pack, unpack_header, unpack_lengths
from sandbox.guest_threads import GuestThreads
from sandbox.services.request import Refusal, Service, ServiceError
from sandbox.worker_frames import (
    pack_command_result,
    pack_component_result,
    pack_reply,
)
from sandbox.worker_requests import KnownHeaders, settings_of

READY: Final[Header] = {"ready": True}

Frame = tuple[Header, bytes]


class Worker:
    """Answers frames with an engine, one at a time.

    Args:
        engine: runs the guests.
        send: writes one frame to the parent.
        receive: reads the next frame of the parent; None at the end.
    """

    def __init__(
        self,
        engine: Engine,
        send: Callable[[bytes], None],
        receive: Callable[[], Frame | None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._send = send
        self._receive = receive
        self._agent: AgentInstance | None = None
        self._operations: dict[str, Callable[[Header, bytes], bytes]] = {
            "command": self._command,
            "component": self._component,
            "open": self._open,
            "call": self._call,
            "close": self._close,
        }

    def serve(self) -> None:
        """Answer frames until there are no more."""
        while (frame := self._receive()) is not None:
            self.run(*frame)

    def run(self, header: Header, body: bytes) -> None:
        """Run one request and send what came of it."""
        self._send(self._result(header, body))

    def _result(self, header: Header, body: bytes) -> bytes:
        try:
            return self._operations[header["op"]](header, body)
        except SandboxError as error:
            return pack(
                {"reason": str(error.reason), "message": error.message, "details": error.details}
            )
        except Exception as error:  # noqa: BLE001 - the parent must get an answer to every request
            message = f"the worker could not run the guest: {type(error).__name__}: {error}"
            return pack({"reason": str(Reason.HOST_ERROR), "message": message, "details": {}})

    def _command(self, header: Header, body: bytes) -> bytes:
        given = settings_of(header)
        return pack_command_result(
            self._engine.run_command(
                given.artifact,
                stdin=body,
                limits=given.limits,
                grants=given.grants,
                args=tuple(header["args"]),
                ask=self._ask,
            )
        )

    def _component(self, header: Header, body: bytes) -> bytes:
        given = settings_of(header)
        return pack_component_result(
            self._engine.call_component(
                given.artifact,
                Function.from_text(header["export"], header["type"]),
                body,
                limits=given.limits,
                grants=given.grants,
                ask=self._ask,
            )
        )

    def _open(self, header: Header, _body: bytes) -> bytes:
        given = settings_of(header)
        self._agent = self._engine.open_agent(given.artifact, given.limits, given.grants, self._ask)
        return pack({"opened": True})

    def _call(self, _header: Header, body: bytes) -> bytes:
        if self._agent is None:
            raise SandboxError(Reason.INSTANCE_DEAD, "no agent is open in this worker")
        return pack_reply(self._agent.call(body))

    def _close(self, _header: Header, _body: bytes) -> bytes:
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.close()
        return pack({"closed": True})

    def _ask(self, service: Service, key: bytes, body: bytes) -> bytes | None:
        """Ask the parent and wait: it answers by the call's deadline, or kills this process."""
        self._send(pack({"ask": str(service), "key": len(key)}, key + body))
        frame = self._receive()
        if frame is None or frame[0].get("op") != "answer":
            raise ServiceError(Refusal.UNAVAILABLE, "the host is gone")
        header, answer = frame
        if "code" in header:
            raise ServiceError(Refusal(header["code"]), header["message"])
        return None if header["absent"] else answer


def serve(engine: Engine, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer frames until ``requests`` ends.

    One thread reads, runs the guest and writes: a call wakes no second one. This one only waits
    for the parent's end, which must end the process whatever its guest is doing.
    """

    def send(frame: bytes) -> None:
        answers.write(frame)
        answers.flush()

    worker = Worker(engine, send, partial(read_frame, requests, KnownHeaders().header))
    settle()
    send(pack(READY))
    served = GuestThreads(1).submit(worker.serve)
    if not wait_for_hangup(requests):
        served.result()


def settle() -> None:
    """What is loaded by now stays: the collector need not look at it again.

    A full collection of an interpreter with its engine takes as long as twenty calls.
    """
    gc.collect()
    gc.freeze()


def wait_for_hangup(source: BinaryIO) -> bool:
    """Wait until the other side of a pipe or socket is closed; False for anything else."""
    try:
        descriptor = source.fileno()
    except OSError:
        return False
    poll = select.poll()
    # Nothing is asked for: a closed other side is told all the same.
    poll.register(descriptor, 0)
    return bool(poll.poll())


def read_frame(
    source: BinaryIO, read_header: Callable[[bytes], Header] = unpack_header
) -> Frame | None:
    """The next frame, or None at the end, also in the middle of one."""
    prefix = source.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    header_length, body_length = unpack_lengths(prefix)
    header = source.read(header_length)
    body = source.read(body_length)
    if len(header) < header_length or len(body) < body_length:
        return None
    return read_header(header), body


def main(argv: list[str]) -> None:
    """Arguments: memory in bytes, file size in bytes, process id of the parent, engine."""
    data_bytes, file_bytes, parent = map(int, argv[:3])
    engine: EngineName = check_engine(argv[3]) if len(argv) > 3 else "wasmtime"
    restrict(data_bytes=data_bytes, file_bytes=file_bytes, parent=parent)
    # The frames keep descriptors of their own: what a library prints must not reach the pipe.
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    serve(make_engine(engine), requests, answers)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    finally:
        # Without finalisers: a guest may still run on its thread.
        os._exit(0)
