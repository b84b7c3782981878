"""Components through the sandbox: compiled in a limited process, called in workers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import socket
from pathlib import Path

import pytest
from component_texts import MEMORY, component, lift, tool, tool_with
from component_wasi_texts import ENVIRONMENT, PRINTS, RANDOM, SLEEPS, SOCKETS
from sandbox_processes import MakeBox, gone, until

from sandbox import FolderGrant, Grants, Limits, Reason, Sandbox, SandboxError
from sandbox.abi import Level
from sandbox.compiler import CompileLimits, Compiler
from sandbox.component_guest import ComponentGuest
from sandbox.components.functions import Function
from sandbox.grant_events import OnGrant
from sandbox.module import Kind
from sandbox.questions import Questions
from sandbox.services.request import HostRequest, Refusal, Service, ServiceError
from sandbox.testing import wat
from sandbox.wasmtime_engine import WasmtimeEngine

OK = "(i32.const 64)"
QUICK = Limits(fuel=50_000_000, wall_ms=10_000)

NUMBERS = component(
    MEMORY
    + """
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "half") (param i32) (result i32)
      (i32.store8 (i32.const 64) (i32.and (local.get 0) (i32.const 1)))
      (i32.store (i32.const 68) (i32.div_u (local.get 0) (i32.const 2)))
      (i32.const 64))""",
    """
    (type $sum (func (param "a" u32) (param "b" u32) (result u32)))
    (func $add (type $sum) (canon lift (core func $i "add")))
    (component $inner (import "add" (func $f (param "a" u32) (param "b" u32) (result u32)))
      (export "add" (func $f)))
    (instance $math (instantiate $inner (with "add" (func $add))))
    (export "local:calc/math@1.2.3" (instance $math))
    (func (export "half") (param "n" u32) (result (result u32 (error u32)))
      (canon lift (core func $i "half") (memory (core memory $i "memory"))))
    """,
)
"""``local:calc/math@1.2.3#add`` and ``half``, whose err is the half of an odd number."""


async def _opened(
    box: Sandbox, text: str, limits: Limits = QUICK, grants: Grants | None = None
) -> ComponentGuest:
    guest = await (await box.load(wat(text))).open(limits, grants)
    assert isinstance(guest, ComponentGuest)
    return guest


async def _refused(box: Sandbox, data: bytes) -> SandboxError:
    with pytest.raises(SandboxError) as raised:
        await box.load(data)
    return raised.value


async def test_a_tool_is_loaded_opened_and_called(sandbox: Sandbox) -> None:
    """In a worker, always; with what it says of itself."""
    prepared = await sandbox.load(wat(tool(OK)))
    assert (prepared.kind, prepared.level) == (Kind.COMPONENT, Level.PROCESS)
    guest = await prepared.open()
    assert isinstance(guest, ComponentGuest)
    assert guest.is_tool
    assert await guest.describe() == b"{} "
    assert await guest.call("héllo".encode()) == "héllo".encode()
    await guest.close()
    with pytest.raises(SandboxError) as raised:
        await guest.call(b"")
    assert raised.value.reason is Reason.INSTANCE_DEAD


async def test_a_cached_component_has_the_same_functions(sandbox: Sandbox, cache_dir: Path) -> None:
    """Its record holds the types."""
    first = (await sandbox.load(wat(NUMBERS))).module
    again = Sandbox(cache_dir, workers=1)
    try:
        second = (await again.load(wat(NUMBERS))).module
    finally:
        await again.close()
    assert first.functions == second.functions
    names = {item.export: item.tool_name for item in first.functions}
    assert names == {"half": "half", "local:calc/math@1.2.3#add": "local_calc_math_add"}


async def test_functions_are_invoked_by_name(sandbox: Sandbox) -> None:
    """Also those of an interface; the err of a result is a result."""
    guest = await _opened(sandbox, NUMBERS)
    assert not guest.is_tool
    got = await guest.invoke("local:calc/math@1.2.3#add", b'{"a": 2, "b": 40}')
    assert (got.data, got.failed) == (b"42", False)
    odd = await guest.invoke("half", b'{"n": 9}')
    assert (odd.data, odd.failed) == (b"4", True)
    with pytest.raises(SandboxError, match="several functions") as raised:
        await guest.call(b"{}")
    assert raised.value.reason is Reason.MISSING_EXPORT


async def test_an_only_function_is_called_with_its_arguments(sandbox: Sandbox) -> None:
    """Bytes in are its arguments, bytes out its result."""
    text = component(
        MEMORY + '(func (export "inc") (param i32) (result i32)'
        "(i32.add (local.get 0) (i32.const 1)))",
        lift("inc", '(param "n" u32) (result u32)'),
    )
    guest = await _opened(sandbox, text)
    assert await guest.call(b'{"n": 41}') == b"42"


@pytest.mark.parametrize(
    ("function", "arguments", "path", "words"),
    [
        ("half", b'{"n": -1}', "/n", "-1 is not an integer from 0 to 4294967295"),
        ("half", b"{}", "/n", "missing"),
        ("half", b'{"n": 1, "m": 2}', "/m", "no such field"),
        ("half", b"[]", "", "not an object"),
        ("half", b"{", "", "not JSON"),
    ],
)
async def test_wrong_arguments_come_back_with_their_place(
    sandbox: Sandbox, function: str, arguments: bytes, path: str, words: str
) -> None:
    """From the worker, which goes on."""
    guest = await _opened(sandbox, NUMBERS)
    await sandbox.start()
    pids = sandbox.pids
    with pytest.raises(SandboxError, match=words) as raised:
        await guest.invoke(function, arguments)
    assert (raised.value.reason, raised.value.details["path"]) == (Reason.BAD_ARGUMENTS, path)
    assert sandbox.pids == pids


async def test_a_function_that_is_not_there_is_missing(sandbox: Sandbox) -> None:
    """With the names of those that are."""
    guest = await _opened(sandbox, NUMBERS)
    with pytest.raises(SandboxError, match="local:calc/math") as raised:
        await guest.invoke("double")
    assert raised.value.reason is Reason.MISSING_EXPORT


async def test_an_err_of_a_tool_fails_its_call(sandbox: Sandbox) -> None:
    """With its words, as a command's exit code does."""
    guest = await _opened(sandbox, tool(f"(i32.store (i32.const 64) (i32.const 1)) {OK}"))
    with pytest.raises(SandboxError, match="the tool failed: no") as raised:
        await guest.call(b"no")
    assert raised.value.reason is Reason.GUEST_ABORT


async def test_input_that_is_no_text_is_refused(sandbox: Sandbox) -> None:
    """A tool's input is a string."""
    guest = await _opened(sandbox, tool(OK))
    with pytest.raises(SandboxError, match="not UTF-8 at byte 1") as raised:
        await guest.call(b"a\xff")
    assert raised.value.reason is Reason.BAD_ARGUMENTS


async def test_after_a_trap_the_next_call_is_served(sandbox: Sandbox) -> None:
    """By another worker."""
    bad, good = await _opened(sandbox, tool("unreachable")), await _opened(sandbox, tool(OK))
    for _ in range(2):
        with pytest.raises(SandboxError) as raised:
            await bad.call(b"x")
        assert raised.value.reason is Reason.TRAP
        assert await good.call(b"x") == b"x"


async def test_what_blocks_in_wasi_is_killed(sandbox: Sandbox) -> None:
    """A sleep of an hour ends at the deadline, with its worker."""
    guest = await _opened(sandbox, SLEEPS, Limits(wall_ms=300))
    await sandbox.start()
    pids = sandbox.pids
    with pytest.raises(SandboxError) as raised:
        await guest.invoke("call")
    assert raised.value.reason is Reason.TIMEOUT
    assert raised.value.details["killed"] == 1
    await until(lambda: all(gone(pid) for pid in pids))
    assert await (await _opened(sandbox, tool(OK))).call(b"x") == b"x"


async def test_a_flood_of_host_memory_stays_in_the_worker(make_box: MakeBox) -> None:
    """A guest that has the host make 64 GiB for it harms its worker at most."""
    box = make_box(guest_memory_bytes=16 * 1024 * 1024)
    few = await _opened(box, RANDOM.replace("LENGTH", "1000"))
    assert (await few.invoke("call")).data == b"1000"
    bomb = await _opened(box, RANDOM.replace("LENGTH", str(1 << 36)), Limits(wall_ms=5_000))
    with pytest.raises(SandboxError) as raised:
        await bomb.invoke("call")
    assert raised.value.reason in {Reason.TRAP, Reason.KILLED}
    assert (await few.invoke("call")).data == b"1000"


async def test_wasi_shows_what_is_granted(sandbox: Sandbox, tmp_path: Path) -> None:
    """No variable and no folder of the host, but those given."""
    guest = await _opened(sandbox, ENVIRONMENT)
    assert (await guest.invoke("call")).data == b"0"
    grants = Grants(folders=(FolderGrant(tmp_path, "data"),), env=(("A", "1"), ("B", "2")))
    guest = await _opened(sandbox, ENVIRONMENT, grants=grants)
    assert (await guest.invoke("call")).data == b"201"


async def test_what_is_printed_comes_back(sandbox: Sandbox) -> None:
    """Standard output and then standard error; too much of it ends the call."""
    guest = await _opened(sandbox, PRINTS.replace("TIMES", "3"))
    assert (await guest.invoke("call")).printed == b"out out out err "
    limits = Limits(fuel=10**12, wall_ms=60_000, stdout_bytes=1_000)
    flood = await _opened(sandbox, PRINTS.replace("TIMES", "0"), limits)
    with pytest.raises(SandboxError) as raised:
        await flood.invoke("call")
    assert raised.value.reason is Reason.REPLY_TOO_LARGE
    assert raised.value.details["limit"] == 1_000


async def test_sockets_are_refused_by_name(sandbox: Sandbox) -> None:
    """A component that imports them is not loaded."""
    error = await _refused(sandbox, wat(SOCKETS.replace("PORT", "1")))
    assert error.reason is Reason.UNGRANTED_IMPORT
    assert str(error.details["module"]).startswith("wasi:sockets/")
    assert "http of caxton:tool/host@0.1.0" in error.message


def test_sockets_reach_nothing(tmp_path: Path) -> None:
    """Also where nobody looked at the imports: the engine denies each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        engine = WasmtimeEngine()
        artifact = tmp_path / "sockets.cwasm"
        artifact.write_bytes(engine.compile(wat(SOCKETS.replace("PORT", str(port)))).code)
        got = engine.call_component(
            artifact,
            Function.from_text("call", '{"params": [], "result": "u32"}'),
            b"{}",
            limits=QUICK,
            grants=Grants(),
        )
        assert got.data == b"1001"
        with pytest.raises(BlockingIOError):
            listener.accept()


IMPORTS = {
    "an unknown interface": ("local:other/api@1.0.0", '(export "f" (func))', "local:other/api"),
    "wasi:http": ("wasi:http/types@0.2.0", '(export "f" (func))', "network is reached"),
    "an unknown part of wasi": ("wasi:keyvalue/store@0.2.0", '(export "f" (func))', "wasi:cli"),
    "wasi of another version": ("wasi:io/poll@0.3.0", '(export "f" (func))', "at 0.2"),
    "an unknown host function": ("caxton:tool/host@0.1.0", '(export "exec" (func))', "kv-get"),
    "another type": (
        "caxton:tool/host@0.1.0",
        '(export "log" (func (param "msg" string)))',
        r"its type must be func\(u32,string\)",
    ),
    "a resource": ("caxton:tool/host@0.1.0", '(export "r" (type (sub resource)))', "has log"),
}


@pytest.mark.parametrize(("interface", "exports", "words"), IMPORTS.values(), ids=IMPORTS)
async def test_what_is_not_offered_is_refused(
    sandbox: Sandbox, interface: str, exports: str, words: str
) -> None:
    """At load, with its name."""
    text = component(
        MEMORY + '(func (export "call"))',
        lift("call", ""),
        before=f'(import "{interface}" (instance {exports}))',
    )
    with pytest.raises(SandboxError, match=words) as raised:
        await sandbox.load(wat(text))
    assert raised.value.reason is Reason.UNGRANTED_IMPORT
    assert raised.value.details["module"] == interface


async def test_an_import_at_the_top_is_refused(sandbox: Sandbox) -> None:
    """A function that belongs to no interface."""
    text = component(
        MEMORY + '(func (export "call"))', lift("call", ""), before='(import "evil" (func))'
    )
    error = await _refused(sandbox, wat(text))
    assert (error.reason, error.details["name"]) == (Reason.UNGRANTED_IMPORT, "evil")


async def test_imported_types_alone_need_no_grant(sandbox: Sandbox) -> None:
    """An interface of types is nothing that could be called."""
    text = component(
        MEMORY + '(func (export "call") (param i32) (result i32) (local.get 0))',
        """(alias export $types "size" (type $size))
        (func (export "call") (param "s" $size) (result $size) (canon lift (core func $i "call")))
        """,
        before="""(import "local:shared/types@1.0.0" (instance $types
          (type $e (enum "small" "large")) (export "size" (type (eq $e)))))""",
    )
    guest = await _opened(sandbox, text)
    assert await guest.call(b'{"s": "large"}') == b'"large"'


RESOURCE = component(
    MEMORY + '(func (export "make") (result i32) (i32.const 1)) (func (export "call"))',
    """
    (type $r' (resource (rep i32)))
    (export $r "thing" (type $r'))
    (core func $new (canon resource.new $r'))
    (core module $m2 (import "" "new" (func $new (param i32) (result i32)))
      (func (export "make") (result i32) (call $new (i32.const 1))))
    (core instance $i2 (instantiate $m2 (with "" (instance (export "new" (func $new))))))
    (func (export "make") (result (own $r)) (canon lift (core func $i2 "make")))
    EXTRA""",
)


async def test_what_has_no_json_is_listed_with_the_reason(sandbox: Sandbox) -> None:
    """A function of resources beside one of plain types; alone it is no component to load."""
    error = await _refused(sandbox, wat(RESOURCE.replace("EXTRA", "")))
    assert error.reason is Reason.MISSING_EXPORT
    assert "make: refused: own: a resource" in error.message
    prepared = await sandbox.load(wat(RESOURCE.replace("EXTRA", lift("call", ""))))
    refused = {item.export: item.refused[:4] for item in prepared.module.functions}
    assert refused == {"make": "own:", "call": ""}
    guest = await prepared.open(QUICK)
    assert await guest.call(b"{}") == b"null"


async def test_a_component_without_functions_is_refused(sandbox: Sandbox) -> None:
    """There is nothing to call."""
    error = await _refused(sandbox, wat("(component)"))
    assert (error.reason, error.details["export"]) == (Reason.MISSING_EXPORT, "call")


async def test_a_type_of_exponential_size_is_refused(sandbox: Sandbox) -> None:
    """A small binary that describes millions of types costs nothing."""
    lines = ["(type $t0 (tuple u8 u8))"]
    lines += [f"(type $t{n} (tuple $t{n - 1} $t{n - 1}))" for n in range(1, 12)]
    text = component(
        MEMORY + '(func (export "call") (param i32))',
        "\n".join(lines) + lift("call", '(param "v" $t11)'),
    )
    error = await _refused(sandbox, wat(text))
    assert error.reason is Reason.MISSING_EXPORT
    assert "more than 2000 types" in error.message


async def test_broken_components_are_refused_or_loaded(sandbox: Sandbox) -> None:
    """Bytes changed at random: an error with a reason, or a component; no harm to this process."""
    data = wat(tool_with("log", "(param i32 i32 i32)", OK))
    dice = random.Random(5)
    made: list[bytes] = [data[: dice.randrange(8, len(data))] for _ in range(3)]
    for _ in range(17):
        broken = bytearray(data)
        for _ in range(dice.randrange(1, 4)):
            broken[dice.randrange(8, len(broken))] = dice.randrange(256)
        made.append(bytes(broken))
    results = await asyncio.gather(*(sandbox.load(item) for item in made), return_exceptions=True)
    reasons = {item.reason for item in results if isinstance(item, SandboxError)}
    assert Reason.COMPILE_FAILED in reasons
    assert all(isinstance(item, SandboxError) or item.kind for item in results)  # type: ignore[union-attr]
    assert await (await _opened(sandbox, tool(OK))).call(b"x") == b"x"


class Keys:
    """Two keys in memory."""

    def get(self, namespace: str, key: bytes) -> bytes | None:
        return {b"a": b"1", b"b": b"2"}.get(key) if namespace == "mine" else None

    def keys(self, namespace: str, prefix: bytes) -> list[bytes]:
        return [name for name in (b"a", b"b") if name.startswith(prefix)]


class Answers:
    """Answers with the request's own words, or refuses."""

    async def answer(self, request: HostRequest, _on_grant: OnGrant) -> bytes | None:
        if request.service is not Service.HTTP:
            raise ServiceError(Refusal.NOT_GRANTED, "only http")
        return b"got " + request.body


async def test_questions_go_to_the_parent(cache_dir: Path) -> None:
    """From the worker and back; what is refused is the err of the result."""
    ask = "(call $host (local.get $p) (local.get $n) (i32.const 64)) (i32.const 64)"
    kind = "(param i32 i32 i32)"
    async with Sandbox(cache_dir, workers=1, questions=Questions(Keys(), Answers())) as box:
        http = await _opened(box, tool_with("http", kind, ask))
        assert await http.call(b"this") == b"got this"
        query = await _opened(box, tool_with("query", kind, ask))
        with pytest.raises(SandboxError, match="not_granted") as raised:
            await query.call(b"{}")
        assert raised.value.reason is Reason.GUEST_ABORT
        value = """(call $host (local.get $p) (local.get $n) (i32.const 1024))
          (i64.store (i32.const 68) (i64.load (i32.const 1032)))"""
        text = tool_with("kv-get", kind, value + OK)
        granted = await _opened(box, text, grants=Grants(kv="mine"))
        assert await granted.call(b"b") == b"2"


def test_a_component_gets_more_to_compile(tmp_path: Path) -> None:
    """A Python inside takes half a minute. Limits that are given hold for all kinds."""
    component, module = wat("(component)"), wat("(module)")
    by_kind = Compiler(tmp_path / "a")
    assert by_kind._limits_for(component) == CompileLimits.for_component()
    assert by_kind._limits_for(module) == CompileLimits()
    given = CompileLimits(cpu_seconds=1)
    assert Compiler(tmp_path / "b", given)._limits_for(component) == given


EXAMPLE = Path(__file__).resolve().parents[2] / "examples/tools/text_stats"


async def test_the_javascript_example(sandbox: Sandbox) -> None:
    """The component in the repository is the one its hash names, and does its work."""
    data = (EXAMPLE / "text_stats.wasm").read_bytes()
    told = (EXAMPLE / "text_stats.sha256").read_text().split()[0]
    assert hashlib.sha256(data).hexdigest() == told
    prepared = await sandbox.load(data)
    assert [item.export for item in prepared.module.functions] == ["describe", "call"]
    assert {item.module for item in prepared.module.imports} == {"caxton:tool/host@0.1.0"}
    guest = await prepared.open()
    assert isinstance(guest, ComponentGuest)
    described = json.loads(await guest.describe())
    assert described["name"] == "text_stats"
    assert described["inputSchema"]["required"] == ["text"]
    text = "Ho ho, das Öl! Ist's da? \N{SNOWMAN} no"
    reply = await guest.exchange(json.dumps({"text": text, "top": 1}).encode())
    assert json.loads(reply.data) == {
        "characters": len(text),
        "words": 7,
        "sentences": 3,
        "frequent": [{"word": "ho", "count": 2}],
    }
    assert [(line.level, line.text) for line in reply.logs] == [(1, "7 words")]
    with pytest.raises(SandboxError, match="text must be a string"):
        await guest.call(b'{"text": 3}')
    with pytest.raises(SandboxError) as raised:
        await (await prepared.open(Limits(fuel=10_000))).call(b'{"text": ""}')
    assert raised.value.reason is Reason.OUT_OF_FUEL
