"""The worker process: ``python -m sandbox.worker``. Runs WASI commands one at a time.

Frames come in on standard input and answers go out on standard output. The process ends when
its input closes, whatever its guest is doing: the main thread only reads, the guest has a thread
of its own. What this process cannot stop (a guest blocked in a file operation) its parent kills.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from sandbox.child_process import restrict
from sandbox.engine import Engine
from sandbox.errors import Reason, SandboxError
from sandbox.frames import PREFIX, Header, pack, unpack_header, unpack_lengths
from sandbox.grants import FolderGrant, Grants
from sandbox.guest_threads import GuestThreads
from sandbox.limits import Limits

READY: Final[Header] = {"ready": True}


def serve(engine: Engine, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer frames until ``requests`` ends."""
    threads = GuestThreads(1)

    def send(frame: bytes) -> None:
        answers.write(frame)
        answers.flush()

    def run(header: Header, body: bytes) -> None:
        send(answer(engine, header, body))

    send(pack(READY))
    while (frame := read_frame(requests)) is not None:
        threads.submit(partial(run, *frame))


def read_frame(source: BinaryIO) -> tuple[Header, bytes] | None:
    """The next frame, or None at the end, also in the middle of one."""
    prefix = source.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    header_length, body_length = unpack_lengths(prefix)
    header = source.read(header_length)
    body = source.read(body_length)
    if len(header) < header_length or len(body) < body_length:
        return None
    return unpack_header(header), body


def answer(engine: Engine, header: Header, body: bytes) -> bytes:
    """Run one request and give the frame to send back."""
    try:
        result = engine.run_command(
            Path(header["artifact"]),
            stdin=body,
            limits=Limits(**header["limits"]),
            grants=grants_from(header),
            args=tuple(header["args"]),
        )
    except SandboxError as error:
        return pack(
            {"reason": str(error.reason), "message": error.message, "details": error.details}
        )
    except Exception as error:  # noqa: BLE001 - the parent must get an answer to every request
        message = f"the worker could not run the command: {type(error).__name__}: {error}"
        return pack({"reason": str(Reason.HOST_ERROR), "message": message, "details": {}})
    return pack(
        {
            "exit_code": result.exit_code,
            "fuel_used": result.fuel_used,
            "wall_ms": result.wall_ms,
            "stdout": len(result.stdout),
        },
        result.stdout + result.stderr,
    )


def grants_to(grants: Grants) -> Header:
    """Grants as fields of a header."""
    return {
        "folders": [[str(item.host), item.guest, item.write] for item in grants.folders],
        "env": [list(pair) for pair in grants.env],
    }


def grants_from(header: Header) -> Grants:
    """Grants out of a header, checked again: the folder may have changed since."""
    return Grants(
        folders=tuple(
            FolderGrant(Path(host), guest, write=write) for host, guest, write in header["folders"]
        ),
        env=tuple((name, value) for name, value in header["env"]),
    )


def main(argv: list[str]) -> None:
    """Arguments: memory in bytes, file size in bytes, process id of the parent."""
    data_bytes, file_bytes, parent = map(int, argv)
    restrict(data_bytes=data_bytes, file_bytes=file_bytes, parent=parent)
    # The frames keep descriptors of their own: what a library prints must not reach the pipe.
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    from sandbox.wasmtime_engine import WasmtimeEngine

    serve(WasmtimeEngine(), requests, answers)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    finally:
        # Without finalisers: a guest may still run on its thread.
        os._exit(0)
