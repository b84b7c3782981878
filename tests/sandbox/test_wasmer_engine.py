"""Engine wasmer: WASI commands in a worker that is killed; what it cannot do is refused by name."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from component_texts import tool
from sandbox_processes import gone, until

from sandbox import (
    DatabaseGrant,
    FolderGrant,
    Grants,
    HostGrant,
    InvalidSetting,
    Limits,
    Reason,
    Sandbox,
    SandboxError,
    WorkerPool,
)
from sandbox.components.functions import Function
from sandbox.engines import check_engine
from sandbox.frames import Header, pack
from sandbox.testing import AGENTS, COMMAND_ATTACKS, COMMANDS, command, wat
from sandbox.wasmer_engine import WasmerEngine
from sandbox.worker_frames import grants_to
from sandbox.worker_process import WorkerProcess

pytestmark = pytest.mark.process

WALL = Limits.for_command(wall_ms=20_000)
PROGRAM = Path(__file__).with_name("wasi_programs") / "c" / "probe.wasm"


@pytest.fixture(scope="module")
def wasmer_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests: a guest is compiled once."""
    folder = tmp_path_factory.mktemp("wasmer")
    folder.chmod(0o700)
    return folder


@pytest.fixture
async def box(wasmer_cache: Path) -> AsyncIterator[Sandbox]:
    """A sandbox on wasmer with one worker; no process is left after the test."""
    async with Sandbox(wasmer_cache, workers=1, engine="wasmer") as made:
        yield made
        pids = made.pids
    assert all(gone(pid) for pid in pids)


async def probe(box: Sandbox, *args: str, **given: Any) -> tuple[int, str, str]:
    """Exit code, output and errors of the C program."""
    module = await box.prepare(PROGRAM.read_bytes())
    got = await box.run_command(module, limits=WALL, args=args, **given)
    return got.exit_code, got.stdout.decode(), got.stderr.decode()


async def test_commands_read_print_and_exit(box: Sandbox) -> None:
    """The corpus of commands behaves as with the other engine; there is no fuel to count."""
    data = b"some input" * 1000
    results = {}
    for name, text in COMMANDS.items():
        module = await box.prepare(wat(text))
        results[name] = await box.run_command(module, data, WALL)
    assert results["cat"].stdout == data
    assert results["exit 3"].exit_code == 3
    assert results["exit 200"].exit_code == 200
    assert results["count env"].stdout == bytes(4)
    assert results["nap"].exit_code == 0
    grown = int.from_bytes(results["grow"].stdout, "little") * 65536
    assert 1 << 20 < grown <= WALL.memory_bytes
    assert {result.fuel_used for result in results.values()} == {0}
    assert all(result.wall_ms > 0 for result in results.values())


@pytest.mark.parametrize("name", COMMAND_ATTACKS)
async def test_attacks_end_with_their_reason(box: Sandbox, name: str) -> None:
    """Every command of the attack corpus is stopped, its worker is gone, and the next call works.

    Without fuel an endless loop is out of time instead.
    """
    text, reason = COMMAND_ATTACKS[name]
    reason = Reason.TIMEOUT if reason is Reason.OUT_OF_FUEL else reason
    module = await box.prepare(wat(text))
    await box.start()
    (pid,) = box.pids
    with pytest.raises(SandboxError) as stopped:
        await box.run_command(module, limits=Limits.for_command(wall_ms=400))
    assert stopped.value.reason is reason
    await until(lambda: gone(pid))
    again = await box.run_command(await box.prepare(wat(COMMANDS["exit 3"])), limits=WALL)
    assert again.exit_code == 3


async def test_a_guest_out_of_time_goes_on_until_its_process_is_killed(
    box: Sandbox, wasmer_cache: Path
) -> None:
    """The reason why a worker is never used again: its guest still burns a core."""
    module = await box.prepare(wat(COMMAND_ATTACKS["infinite loop"][0]))
    worker = await WorkerProcess.start(64 << 20, 64 << 20, "wasmer")
    try:
        limits = Limits.for_command(wall_ms=200)
        header = {"op": "command", "args": [], "artifact": str(module.artifact)}
        frame = pack({**header, "limits": limits.as_dict(), **grants_to(Grants())}, b"")
        answer, _ = await asyncio.wait_for(worker.exchange(frame, no_answers), 30)
        assert answer["reason"] == "timeout"
        begun = burnt(worker.pid)
        await until(lambda: burnt(worker.pid) > begun + 20)
    finally:
        await worker.kill()
    assert gone(worker.pid)


def burnt(pid: int) -> int:
    """Processor time of a process, in hundredths of a second."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))


async def no_answers(_header: Header, _body: bytes) -> bytes:
    """A guest of this engine asks nothing."""
    raise AssertionError


async def test_a_cancelled_call_ends_its_worker(box: Sandbox) -> None:
    """Whoever gives up leaves no guest behind."""
    module = await box.prepare(wat(COMMAND_ATTACKS["infinite loop"][0]))
    await box.start()
    (pid,) = box.pids
    call = asyncio.create_task(box.run_command(module, limits=WALL))
    begun = burnt(pid)
    await until(lambda: burnt(pid) > begun + 20)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: gone(pid))


async def test_memory_over_the_limit_of_its_worker_ends_the_guest(wasmer_cache: Path) -> None:
    """A folder in memory is no way around: what a guest writes there counts for its process."""
    text = command(
        # Creates "tmp/f" in its own memory, and writes 64 KiB to it without end.
        "(drop (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 1)"
        " (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 32)))"
        "(i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 65536))"
        "(loop $again (br_if $again (i32.eqz (call $write (i32.load (i32.const 32))"
        " (i32.const 0) (i32.const 1) (i32.const 16)))))",
        imports=_import("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32", "open")
        + _import("fd_write", "i32 i32 i32 i32", "write"),
        extra='(data (i32.const 64) "tmp/f")',
    )
    pool = WorkerPool(1, guest_memory_bytes=64 << 20, engine="wasmer")
    async with Sandbox(wasmer_cache, pool=pool, engine="wasmer") as box:
        module = await box.prepare(wat(text))
        await box.start()
        (pid,) = box.pids
        with pytest.raises(SandboxError) as stopped:
            await box.run_command(module, limits=WALL)
        assert stopped.value.reason in {Reason.KILLED, Reason.TRAP}
        await until(lambda: gone(pid))
        again = await box.run_command(await box.prepare(wat(COMMANDS["exit 3"])), limits=WALL)
        assert again.exit_code == 3


def _import(name: str, params: str, alias: str) -> str:
    return (
        f'(import "wasi_snapshot_preview1" "{name}" (func ${alias} (param {params}) (result i32)))'
    )


async def test_a_worker_is_replaced_before_its_threads_fill_it(box: Sandbox) -> None:
    """The SDK leaves a thread behind with each call: after 64 the process is another one."""
    module = await box.prepare(wat(COMMANDS["exit 3"]))
    await box.start()
    (pid,) = box.pids
    for _ in range(64):
        assert box.pids == (pid,)
        await box.run_command(module, limits=WALL)
    await box.start()
    assert box.pids != (pid,)


async def test_nothing_of_the_host_is_seen(
    box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No variable, no file of the host, no way up; what the guest writes stays in its memory."""
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    assert await probe(box, "env") == (0, "", "")
    for path in ("/etc/passwd", "/proc/self/environ", "/../etc/passwd", str(tmp_path)):
        code, out, err = await probe(box, "read", path)
        assert (code, out, err) == (1, "", "errno 44\n"), path
    code, out, _ = await probe(box, "ls", "/")
    assert (code, set(out.split())) == (
        0,
        {".app/", ".private/", "bin/", "dev/", "etc/", "tmp/", "usr/", "workspace/"},
    )
    assert (await probe(box, "write", "/tmp/left", "x"))[0] == 0
    assert (await probe(box, "read", "/tmp/left"))[0] == 1


async def test_sockets_are_refused(box: Sandbox) -> None:
    """Opening one is not even an import it may have."""
    text = command(
        "(drop (call $open (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 0)))",
        imports='(import "wasix_32v1" "sock_open"'
        " (func $open (param i32 i32 i32 i32) (result i32)))",
    )
    with pytest.raises(SandboxError) as refused:
        await box.prepare(wat(text))
    assert refused.value.reason is Reason.UNGRANTED_IMPORT


async def test_variables_and_read_only_folders_are_given(box: Sandbox, tmp_path: Path) -> None:
    """A folder is a copy: links in it are not followed, and the host's file stays what it is."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "deep" / "b").write_text("below")
    (tmp_path / "link").symlink_to("/etc/passwd")
    grants = Grants((FolderGrant(tmp_path, "/data"),), (("A", "1=1"),))
    assert await probe(box, "env", grants=grants) == (0, "A=1=1\n", "")
    assert await probe(box, "ls", "/data", grants=grants) == (0, "a.txt\ndeep/\n", "")
    assert await probe(box, "read", "/data/deep/b", grants=grants) == (0, "below", "")
    assert (await probe(box, "write", "/data/a.txt", "changed", grants=grants))[0] == 0
    assert await probe(box, "read", "/data/a.txt", grants=grants) == (0, "hello", "")
    assert (tmp_path / "a.txt").read_text() == "hello"


async def test_folders_too_large_to_copy_are_refused(box: Sandbox, tmp_path: Path) -> None:
    """32 MiB over all the files of a call are the most, 4,096 files as well."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate((32 << 20) + 1)
    with pytest.raises(SandboxError) as refused:
        await probe(box, "ls", "/", grants=Grants((FolderGrant(tmp_path, "/data"),)))
    assert refused.value.reason is Reason.MESSAGE_TOO_LARGE
    assert refused.value.details["limit"] == 32 << 20


@pytest.mark.parametrize(
    ("field", "limits"),
    [
        ("fuel", Limits(fuel=5_000)),
        ("stack_bytes", Limits(stack_bytes=64 * 1024)),
    ],
)
async def test_limits_it_cannot_keep_are_refused(box: Sandbox, field: str, limits: Limits) -> None:
    """A limit that was set and would not hold is an error that names the engine."""
    module = await box.prepare(wat(COMMANDS["exit 3"]))
    with pytest.raises(InvalidSetting, match="engine wasmer") as refused:
        await box.run_command(module, limits=limits)
    assert refused.value.field == field


async def test_grants_it_cannot_keep_are_refused(box: Sandbox, tmp_path: Path) -> None:
    """Writable folders and all that goes through host functions."""
    module = await box.prepare(wat(COMMANDS["exit 3"]))
    for field, grants in (
        ("folders", Grants((FolderGrant(tmp_path, "/data", write=True),))),
        ("hosts", Grants(hosts=(HostGrant("example.com"),))),
        ("kv", Grants(kv="mine")),
        ("databases", Grants(databases=(DatabaseGrant("db", "x.sqlite"),))),
        ("memory", Grants(memory="mine")),
    ):
        with pytest.raises(InvalidSetting, match="engine wasmer") as refused:
            await box.run_command(module, grants=grants)
        assert refused.value.field == field


async def test_agents_components_and_host_functions_are_refused(box: Sandbox) -> None:
    """By name: only ``_start`` can be called, a host function is not there."""
    agent = await box.prepare(wat(AGENTS["echo"]))
    component = await box.prepare(wat(tool("(i32.const 64)")))
    for refused_call in (
        box.open_agent(agent),
        box.run_command(agent),
        box.call_component(component, "describe"),
    ):
        with pytest.raises(SandboxError) as refused:
            await refused_call
        assert refused.value.reason is Reason.MISSING_EXPORT
    log = command(
        "(call $log (i32.const 1) (i32.const 0) (i32.const 1))",
        imports='(import "caxton" "log" (func $log (param i32 i32 i32)))',
    )
    module = await box.prepare(wat(log))
    with pytest.raises(SandboxError, match=r"import caxton\.log .* engine wasmer") as ungranted:
        await box.run_command(module)
    assert ungranted.value.reason is Reason.UNGRANTED_IMPORT


def test_the_engine_itself_refuses_the_same(tmp_path: Path) -> None:
    """Also where no pool asked before."""
    engine = WasmerEngine()
    try:
        missing = tmp_path / "missing"
        with pytest.raises(SandboxError) as refused:
            engine.open_agent(missing, Limits())
        assert refused.value.reason is Reason.MISSING_EXPORT
        nothing = Function("f", "f", (), None)
        with pytest.raises(SandboxError, match="wasmtime for agents and components"):
            engine.call_component(missing, nothing, b"", limits=Limits(), grants=Grants())
        with pytest.raises(SandboxError) as not_there:
            engine.run_command(missing, stdin=b"", limits=Limits(), grants=Grants())
        assert not_there.value.details["stage"] == "load"
        text = command("(call $log)", imports='(import "caxton" "log" (func $log))')
        (tmp_path / "log").write_bytes(engine.compile(wat(text)).code)
        with pytest.raises(SandboxError) as unknown:
            engine.run_command(tmp_path / "log", stdin=b"", limits=WALL, grants=Grants())
        assert unknown.value.reason is Reason.UNGRANTED_IMPORT
        with pytest.raises(SandboxError) as invalid:
            engine.compile(b"\0asm\x01\0\0\0\xff")
        assert invalid.value.reason is Reason.COMPILE_FAILED
    finally:
        engine.close()


def test_an_engine_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Unknown, or not installed: what to install and what it cannot do."""
    with pytest.raises(InvalidSetting, match="one of wasmtime, wasmer"):
        check_engine("v8")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    for use in (
        lambda: Sandbox(tmp_path / "cache", engine="wasmer"),
        lambda: WorkerPool(1, engine="wasmer"),
    ):
        with pytest.raises(InvalidSetting) as refused:
            use()
        assert refused.value.field == "engine"
        assert "pip install 'caxton[wasmer]'" in refused.value.allowed
        assert (
            "without fuel, agents, components, host functions or writable folders"
            in refused.value.allowed
        )
    assert not (tmp_path / "cache").exists()


def test_pool_and_sandbox_have_one_engine(tmp_path: Path) -> None:
    """A mistake that would run modules with an engine they were not made for."""
    with pytest.raises(InvalidSetting, match="a pool with engine wasmer"):
        Sandbox(tmp_path / "cache", pool=WorkerPool(1), engine="wasmer")
