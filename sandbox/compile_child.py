"""Compile one module in a process of its own: ``python -m sandbox.compile_child``.

Reads the module from standard input, writes native code to the file named, and prints one JSON
object. A hostile module costs this process its limits, and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import BinaryIO

from sandbox.child_process import restrict
from sandbox.engines import EngineName, check_engine, make_engine
from sandbox.errors import SandboxError


def answer(data: bytes, target: Path, engine: EngineName = "wasmtime") -> dict[str, object]:
    """Compile ``data`` into ``target``; the imports and exports, or the error."""
    try:
        compiled = make_engine(engine).compile(data)
    except SandboxError as error:
        return {"reason": str(error.reason), "message": error.message, "details": error.details}
    target.write_bytes(compiled.code)
    return {
        "imports": [[i.module, i.name, i.type] for i in compiled.imports],
        "exports": [[e.name, e.type] for e in compiled.exports],
    }


def main(argv: list[str], stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Arguments: target file, memory in bytes, processor seconds, parent's process id, engine."""
    target, memory, cpu, parent, *engine = argv
    restrict(
        data_bytes=int(memory),
        file_bytes=1 << 30,
        cpu_seconds=int(cpu),
        parent=int(parent),
    )
    record = answer(stdin.read(), Path(target), *map(check_engine, engine))
    stdout.write(json.dumps(record).encode())
    stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:], sys.stdin.buffer, sys.stdout.buffer)
    # The engine's own threads may still run; nothing is left to clean up.
    os._exit(0)
