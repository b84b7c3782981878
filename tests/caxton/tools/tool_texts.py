"""Tools as WebAssembly text, and folders to put them into."""

from __future__ import annotations

import json
from pathlib import Path

from sandbox.testing import agent, command, wat

__all__ = ["ECHO", "answering", "looping", "put_tool", "stating"]

ECHO = agent(
    """(i32.store8 (i32.add (local.get $p) (local.get $n)) (i32.const 0x7d))
    (i64.or (i64.shl (i64.const 1015) (i64.const 32))
      (i64.extend_i32_u (i32.add (local.get $n) (i32.const 10))))""",
    extra='(data (i32.const 1015) "{\\"echo\\": ")',
)
"""Answers ``{"echo": ARGUMENTS}``."""

ABOUT = {"description": "A tool.", "inputSchema": {"type": "object"}}


def answering(text: str) -> str:
    """A tool of the agent ABI that gives this text back."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    size = len(text.encode())
    return agent(
        f"(i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const {size}))",
        extra=f'(data (i32.const 16) "{escaped}")',
    )


def looping() -> str:
    """A tool that does not end by itself."""
    return agent("(loop $again (br $again)) (i64.const 0)")


def stating(text: str, code: int = 0) -> str:
    """A command that prints this text, whatever it is given, and ends with an exit code."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    size = len(text.encode())
    return command(
        f"""(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {size}))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (i32.const {code}))""",
        imports="""(import "wasi_snapshot_preview1" "fd_write"
          (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))""",
        extra=f'(data (i32.const 64) "{escaped}")',
    )


def put_tool(
    folder: Path,
    name: str,
    text: str,
    *,
    about: dict[str, object] | None = None,
    policy: str = "",
) -> Path:
    """Write the folder of a tool; without ``about`` it has a description of no importance."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "tool.json").write_text(json.dumps(ABOUT if about is None else about))
    if policy:
        (place / "policy.yaml").write_text(policy)
    part = place / f"{name}.part"
    part.write_bytes(wat(text))
    part.replace(place / f"{name}.wasm")
    return place
