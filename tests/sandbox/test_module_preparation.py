"""Bytes become modules, or one typed error: headers, kinds, cache, limited compilation."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import CompileLimits, InvalidSetting, Kind, Limits, Reason, Sandbox, SandboxError
from sandbox.artifact_cache import ArtifactCache
from sandbox.compile_child import answer
from sandbox.compiler import Compiler
from sandbox.module import Export, Import, check_header, classify, content_hash
from sandbox.testing import AGENTS, COMMANDS, REFUSED, agent, command, wat
from sandbox.wasmtime_engine import WasmtimeEngine

ECHO = wat(AGENTS["echo"])


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_module_is_refused(sandbox: Sandbox, name: str) -> None:
    """Each kind of wrong bytes has its reason."""
    data, reason = REFUSED[name]
    with pytest.raises(SandboxError) as refused:
        await sandbox.prepare(data)
    assert refused.value.reason is reason


async def test_kinds_imports_and_exports_are_found(sandbox: Sandbox) -> None:
    """A module says what it is, whether compiled now or found in the cache."""
    for _ in range(2):
        chatty = await sandbox.prepare(wat(AGENTS["chatty"]))
        assert chatty.kind is Kind.CORE_AGENT
        assert Import("caxton", "log", "func(i32,i32,i32)->()") in chatty.imports
        assert Export("memory", "memory") in chatty.exports
        assert chatty.sha256 == content_hash(chatty.data)
    assert (await sandbox.prepare(wat(COMMANDS["cat"]))).kind is Kind.WASI_COMMAND


@pytest.mark.parametrize(
    ("text", "reason", "names"),
    [
        ("(module)", Reason.MISSING_EXPORT, "memory"),
        ('(module (memory (export "memory") 1))', Reason.MISSING_EXPORT, "alloc"),
        ('(module (func (export "_start")))', Reason.MISSING_EXPORT, "memory"),
        (
            '(module (memory (export "memory") 1) (func (export "_start") (param i32)))',
            Reason.MISSING_EXPORT,
            "_start",
        ),
        (
            agent("(i64.const 0)", imports='(import "caxton" "steal" (func))'),
            Reason.UNGRANTED_IMPORT,
            "steal",
        ),
        (
            agent("(i64.const 0)", imports='(import "caxton" "log" (func (param i64)))'),
            Reason.UNGRANTED_IMPORT,
            "log",
        ),
        (
            agent(
                "(i64.const 0)",
                imports='(import "wasi_unstable" "proc_exit" (func (param i32)))',
            ),
            Reason.UNGRANTED_IMPORT,
            "proc_exit",
        ),
        (
            agent("(i64.const 0)", extra='(func (export "dealloc"))'),
            Reason.MISSING_EXPORT,
            "dealloc",
        ),
        (
            command("(nop)", imports='(import "env" "socket" (func))'),
            Reason.UNGRANTED_IMPORT,
            "socket",
        ),
    ],
)
async def test_what_is_missing_or_not_granted_is_named(
    sandbox: Sandbox, text: str, reason: Reason, names: str
) -> None:
    """The error names the export or import."""
    with pytest.raises(SandboxError) as refused:
        await sandbox.prepare(wat(text))
    assert refused.value.reason is reason
    assert names in refused.value.details.values()


def test_a_wasi_import_that_is_no_function_is_refused() -> None:
    """Only functions of WASI are granted."""
    with pytest.raises(SandboxError):
        classify(
            (Import("wasi_snapshot_preview1", "memory", "memory"),),
            (Export("_start", "func()->()"), Export("memory", "memory")),
        )


def test_a_module_over_its_limit_is_refused_by_size() -> None:
    """Size is checked before anything else is looked at."""
    with pytest.raises(SandboxError) as refused:
        check_header(ECHO, len(ECHO) - 1)
    assert refused.value.reason is Reason.MODULE_TOO_LARGE
    assert refused.value.details == {"given": len(ECHO), "limit": len(ECHO) - 1}


async def test_content_is_compiled_once(tmp_path: Path) -> None:
    """Callers at the same time share one compilation; later ones find it in the cache."""
    async with Sandbox(tmp_path / "cache") as box:
        modules = await asyncio.gather(*(box.prepare(ECHO) for _ in range(5)))
        assert len({module.artifact for module in modules}) == 1
        written = modules[0].artifact.stat().st_ino
        assert (await box.prepare(ECHO)).artifact.stat().st_ino == written
    assert not list((tmp_path / "cache").glob(".*.part"))


async def test_a_large_module_is_looked_up_off_the_loop(sandbox: Sandbox) -> None:
    """A module of 300 kB compiles and is found again."""
    data = wat(agent("(i64.const 0)", extra='(data (i32.const 0) "' + "x" * 120_000 + '")'))
    large = data + b"\0" + b"\xff\xff\x0f" + b"\x01a" + bytes(0x3FFFF - 2)
    assert (await sandbox.prepare(large)).sha256 == (await sandbox.prepare(large)).sha256


async def test_cancelling_one_caller_does_not_end_the_others(tmp_path: Path) -> None:
    """A compilation belongs to all who wait for it."""
    async with Sandbox(tmp_path / "cache") as box:
        first = asyncio.create_task(box.prepare(ECHO))
        second = asyncio.create_task(box.prepare(ECHO))
        while not box._compiler._under_way:
            await asyncio.sleep(0)
        first.cancel()
        assert (await second).kind is Kind.CORE_AGENT
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_closing_ends_a_compilation(tmp_path: Path) -> None:
    """close() leaves neither process nor half-written file."""
    box = Sandbox(tmp_path / "cache")
    task = asyncio.create_task(box.prepare(ECHO))
    while not box._compiler._under_way:
        await asyncio.sleep(0)
    await box.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not list((tmp_path / "cache").glob(".*.part"))


async def test_a_long_compilation_tells_how_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hash, size and time so far, again and again until it ends, and not after."""
    monkeypatch.setattr("sandbox.compiler.PROGRESS_S", 0.005)
    told: list[tuple[str, int, float]] = []
    async with Sandbox(tmp_path / "cache", progress=lambda *what: told.append(what)) as box:
        module = await box.prepare(ECHO)
        count = len(told)
        assert count > 1
        assert {(one, size) for one, size, _ in told} == {(module.sha256, len(ECHO))}
        times = [seconds for *_, seconds in told]
        assert times == sorted(times)
        await box.prepare(ECHO)
        assert len(told) == count


def many_functions(count: int) -> bytes:
    """A module of very many empty functions, costly to compile for its size."""

    def section(number: int, body: bytes) -> bytes:
        return bytes([number]) + leb(len(body)) + body

    return (
        b"\0asm\x01\0\0\0"
        + section(1, b"\x01\x60\0\0")
        + section(3, leb(count) + bytes(count))
        + section(10, leb(count) + b"\x02\0\x0b" * count)
    )


def leb(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.process
async def test_a_costly_compilation_is_stopped(tmp_path: Path) -> None:
    """A compile bomb ends with compile_timeout or compile_failed within its limits."""
    bomb = many_functions(500_000)
    limits = CompileLimits(cpu_seconds=1, wall_ms=20_000, memory_bytes=256 << 20)
    for chosen, reasons in (
        (limits, {Reason.COMPILE_TIMEOUT, Reason.COMPILE_FAILED}),
        (CompileLimits(wall_ms=100), {Reason.COMPILE_TIMEOUT}),
        (CompileLimits(memory_bytes=128 << 20), {Reason.COMPILE_FAILED}),
    ):
        compiler = Compiler(tmp_path / "cache", chosen)
        with pytest.raises(SandboxError) as stopped:
            await compiler.prepare(bomb)
        assert stopped.value.reason in reasons


def test_compile_limits_are_checked() -> None:
    """A compile limit out of range names itself."""
    with pytest.raises(InvalidSetting, match="cpu_seconds"):
        CompileLimits(cpu_seconds=0)


class TestCache:
    """Artifacts are native code that is trusted: the folder and the files must be private."""

    def test_a_new_folder_is_private(self, tmp_path: Path) -> None:
        """It is made with mode 0700."""
        ArtifactCache(tmp_path / "cache", "f")
        assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("mode", [0o755, 0o770, 0o707])
    def test_a_folder_others_can_enter_is_refused(self, tmp_path: Path, mode: int) -> None:
        """The error says the mode and what it must be."""
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache").chmod(mode)
        with pytest.raises(SandboxError, match="0700") as refused:
            ArtifactCache(tmp_path / "cache", "f")
        assert refused.value.details["mode"] == f"{mode:04o}"

    def test_a_symlink_is_refused(self, tmp_path: Path) -> None:
        """A link to a private folder could be pointed elsewhere."""
        (tmp_path / "real").mkdir(mode=0o700)
        (tmp_path / "cache").symlink_to(tmp_path / "real")
        with pytest.raises(SandboxError):
            ArtifactCache(tmp_path / "cache", "f")

    async def test_a_folder_opened_later_is_refused_later(self, tmp_path: Path) -> None:
        """The check is made at each use, not only at the start."""
        async with Sandbox(tmp_path / "cache") as box:
            await box.prepare(ECHO)
            (tmp_path / "cache").chmod(0o777)
            with pytest.raises(SandboxError, match="0700"):
                await box.prepare(ECHO)

    @pytest.mark.parametrize("change", ["flip", "writable", "symlink", "truncate", "record"])
    async def test_a_changed_artifact_is_compiled_again(self, tmp_path: Path, change: str) -> None:
        """A tampered or torn file is never loaded."""
        async with Sandbox(tmp_path / "cache") as box:
            artifact = (await box.prepare(ECHO)).artifact
            good = artifact.read_bytes()
            if change == "flip":
                artifact.write_bytes(bytes([good[0] ^ 1]) + good[1:])
            elif change == "writable":
                artifact.chmod(0o666)
            elif change == "truncate":
                artifact.write_bytes(b"")
            elif change == "record":
                artifact.with_suffix(".json").write_text("[]")
            else:
                artifact.rename(tmp_path / "elsewhere")
                artifact.symlink_to(tmp_path / "elsewhere")
            await box.prepare(ECHO)
            assert artifact.read_bytes() == good
            assert not artifact.is_symlink()
            assert artifact.stat().st_mode & 0o022 == 0

    def test_the_oldest_artifacts_leave_a_full_cache(self, tmp_path: Path) -> None:
        """Size is bounded; what was just stored stays."""
        cache = ArtifactCache(tmp_path / "cache", "f", limit_bytes=25)
        for n, name in enumerate("abc"):
            with cache.aside() as part:
                part.write_bytes(bytes(10))
                cache.store(name, part, {"imports": [], "exports": []})
            os.utime(cache.path(name), (n, n))
        assert cache.find("a") is None
        assert cache.find("b") == cache.find("c") == ((), ())


def test_the_compile_child_answers(tmp_path: Path) -> None:
    """The child's answer has imports and exports, or a reason."""
    target = tmp_path / "code"
    assert ["memory", "memory"] in answer(ECHO, target)["exports"]  # type: ignore[operator]  # a list
    assert target.stat().st_size > 0
    assert answer(REFUSED["bad section"][0], target)["reason"] == "compile_failed"


CHILD_FREE = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


ENGINE = WasmtimeEngine()


def outcome(data: bytes, folder: Path) -> object:
    """What becomes of bytes, in this process: the whole way, to a call when there is one."""
    # A file of its own for each content: what is mapped must never change.
    artifact = folder / content_hash(data)
    try:
        check_header(data, 1 << 20)
        compiled = ENGINE.compile(data)
        kind = classify(compiled.imports, compiled.exports)
        if kind is Kind.CORE_AGENT:
            artifact.write_bytes(compiled.code)
            limits = Limits(fuel=1_000_000, wall_ms=10_000)
            guest = ENGINE.open_agent(artifact, limits)
            guest.call(b"some message")
    except SandboxError as error:
        return error.reason
    return kind


@CHILD_FREE
@given(st.binary(max_size=200))
def test_random_bytes_are_one_typed_error(tmp_path: Path, data: bytes) -> None:
    """No bytes crash the host."""
    assert isinstance(outcome(data, tmp_path), Reason)
    assert isinstance(outcome(b"\0asm\x01\0\0\0" + data, tmp_path), Reason | Kind)


@CHILD_FREE
@given(st.integers(0, 2**32), st.sampled_from(sorted(AGENTS)))
def test_mutated_modules_are_modules_or_one_typed_error(
    tmp_path: Path, seed: int, name: str
) -> None:
    """A damaged module is refused or still valid; the host goes on."""
    rng = random.Random(seed)
    data = bytearray(wat(AGENTS[name]))
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    del data[len(data) - rng.choice([0, 0, rng.randrange(len(data))]) :]
    assert isinstance(outcome(bytes(data), tmp_path), Reason | Kind)
