"""Bytes that are made to cost, to crash or to be taken for another thing; and a tampered cache."""

from __future__ import annotations

import ast
import asyncio
import gzip
import io
import os
import sys
import time
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from sandbox_processes import reason_of
from test_module_preparation import leb, many_functions

import sandbox as package
from sandbox import CompileLimits, Limits, Reason, Sandbox, SandboxError
from sandbox.artifact_cache import ArtifactCache
from sandbox.engine import engine_fingerprint
from sandbox.module import content_hash
from sandbox.testing import AGENTS, agent, wat
from sandbox.wasmtime_engine import WasmtimeEngine

ECHO = wat(AGENTS["echo"])

CORE = b"\0asm\x01\0\0\0"


def section(number: int, body: bytes) -> bytes:
    """One section of a module."""
    return bytes([number]) + leb(len(body)) + body


def one_function(code: bytes, locals_: bytes = b"\0", count: int = 1) -> bytes:
    """A module of ``count`` functions of one i32 parameter with the same code."""
    body = locals_ + code + b"\x0b"
    return (
        CORE
        + section(1, b"\x01\x60\x01\x7f\0")
        + section(3, leb(count) + bytes(count))
        + section(10, leb(count) + (leb(len(body)) + body) * count)
    )


STRAIGHT = b"\x20\0\x41\x01\x6a\x21\0"
"""local 0 = local 0 + 1"""
BRANCH = b"\x02\x40\x20\0\x0d\0\x0b"
"""A block that is left when local 0 is not zero."""

BOMBS: dict[str, bytes] = {
    "900,000 functions": many_functions(900_000),
    "a straight line of 2 MB": one_function(STRAIGHT * 300_000),
    "60,000 branches in one function": one_function(BRANCH * 60_000),
    "eight functions of 60,000 branches": one_function(BRANCH * 60_000, count=8),
    "100,000 nested blocks": one_function(b"\x02\x40" * 100_000 + b"\x0b" * 100_000),
}
"""Modules that cost far more to compile than to send."""


@pytest.mark.process
async def test_compile_bombs_end_within_their_limits(tmp_path: Path) -> None:
    """Each costs its child the limit and no more; meanwhile and after, others are compiled."""
    limits = CompileLimits(cpu_seconds=2, wall_ms=8_000, memory_bytes=512 << 20)
    async with Sandbox(tmp_path / "cache", compile_limits=limits) as box:

        async def outcome(data: bytes) -> Reason:
            with pytest.raises(SandboxError) as ended:
                await box.prepare(data)
            return ended.value.reason

        started = time.monotonic()
        ends = await asyncio.gather(*map(outcome, BOMBS.values()))
        took = time.monotonic() - started
        assert (await box.prepare(ECHO)).sha256 == content_hash(ECHO)
    by_name = dict(zip(BOMBS, ends, strict=True))
    stopped = {Reason.COMPILE_TIMEOUT, Reason.COMPILE_FAILED}
    assert by_name["900,000 functions"] in stopped
    # What compiles in time has no door, and is refused for that.
    assert set(ends) <= stopped | {Reason.MISSING_EXPORT}
    assert took < 8 * (len(BOMBS) + 1) / 2
    assert not list((tmp_path / "cache").glob(".*.part"))


def test_what_no_compiler_takes_is_refused() -> None:
    """Too many locals, a branch table without end, nesting in a type: one typed error each."""
    for name, data in {
        "a million locals": one_function(b"", locals_=b"\x01" + leb(1_000_000) + b"\x7f"),
        "a huge br_table": one_function(b"\x20\0\x0e" + leb(10_000_000) + bytes(100)),
        "a section longer than the module": CORE + b"\x0a" + leb(1 << 31) + b"\0",
        "a function count without functions": CORE + section(3, leb(1 << 30)),
        "a body that ends early": one_function(b"\x02\x40"),
    }.items():
        with pytest.raises(SandboxError) as refused:
            WasmtimeEngine().compile(data)
        assert refused.value.reason is Reason.COMPILE_FAILED, name


def test_every_byte_of_a_module_may_be_wrong() -> None:
    """Each byte changed once, and the module cut at each place: refused or valid, never a crash."""
    engine = WasmtimeEngine()
    outcomes: Counter[Reason | None] = Counter()
    for at in range(len(ECHO)):
        for data in (ECHO[:at] + bytes([ECHO[at] ^ 0x55]) + ECHO[at + 1 :], ECHO[:at]):
            reason = reason_of(partial(engine.compile, data))
            outcomes[reason] += 1
    assert set(outcomes) == {None, Reason.COMPILE_FAILED}
    assert sum(outcomes.values()) >= 150
    assert outcomes[Reason.COMPILE_FAILED] > outcomes[None]


async def test_nothing_is_unpacked(sandbox: Sandbox) -> None:
    """A compressed module, an archive and text are no modules, whatever is inside."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("module.wasm", bytes(1 << 20))
    for data in (gzip.compress(bytes(1 << 20)), archive.getvalue(), b"(module)", b" \0asm\1\0\0\0"):
        with pytest.raises(SandboxError) as refused:
            await sandbox.prepare(data)
        assert refused.value.reason is Reason.NOT_A_MODULE


def test_an_artifact_of_another_user_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the folder nor a file in it may belong to somebody else."""
    cache = ArtifactCache(tmp_path / "cache", engine_fingerprint())
    with cache.aside() as part:
        part.write_bytes(b"code")
        cache.store("ab", part, {"imports": [], "exports": []})
    assert cache.find("ab") == ((), ())
    me = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr("sandbox.artifact_cache.os.geteuid", lambda: me + 1)
        with pytest.raises(SandboxError, match=f"user {me + 1}"):
            cache.find("ab")
        patch.setattr(cache, "check_private", lambda: None)
        assert cache.find("ab") is None
    assert cache.find("ab") == ((), ())


async def test_an_artifact_replaced_while_it_is_loaded_harms_no_guest(tmp_path: Path) -> None:
    """A new file takes the name; the mapped one stays as it is under those who run it."""
    text = agent(
        "(i32.store (i32.const 8) (i32.const 42))"
        "(i64.or (i64.shl (i64.const 8) (i64.const 32)) (i64.const 4))",
        extra="".join(f"(func (param i32) (result i32) (i32.mul (local.get 0) (i32.const {n})))"
                      for n in range(300)),
    )  # fmt: skip
    async with Sandbox(tmp_path / "cache") as box:
        module = await box.prepare(wat(text))
        guest = await box.open_agent(module)
        assert (await guest.call(b""))[0] == 42
        inode = module.artifact.stat().st_ino
        for _ in range(2):
            box._compiler.discard(module)
            again = await box.prepare(module.data)
            assert again.artifact == module.artifact
            assert (await guest.call(b""))[0] == 42
        assert module.artifact.stat().st_ino != inode
        assert (await (await box.open_agent(again)).call(b""))[0] == 42


async def test_compiling_goes_on_in_a_process_that_has_the_engine_loaded(sandbox: Sandbox) -> None:
    """Children are new processes that load their own engine: no fork of a loaded one."""
    guest = await sandbox.open_agent(await sandbox.prepare(ECHO))
    assert "wasmtime" in sys.modules
    fresh = agent("(i64.const 0)", extra=f"(global i64 (i64.const {time.time_ns()}))")
    opened = await sandbox.open_agent(await sandbox.prepare(wat(fresh)), Limits())
    assert await opened.call(b"") == b""
    assert await guest.call(b"x") == b"x"


def test_nothing_in_the_package_forks() -> None:
    """No ``os.fork`` and no ``multiprocessing``, which forks by default on Linux."""
    root = Path(package.__file__).parent
    found = []
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Attribute):
                names = [node.attr]
            else:
                continue
            found += [f"{path.name}: {name}" for name in names
                      if name.split(".")[0] in {"multiprocessing", "fork", "forkpty"}]  # fmt: skip
    assert found == []
