"""Components on wasmtime, from text: values of every type, and limits against attacks."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from component_texts import (
    MEMORY,
    PADS,
    component,
    echo,
    json_values,
    lift,
    tool,
    tool_with,
    types,
    values,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import Limits, Reason, SandboxError
from sandbox.components.functions import Function, functions_of
from sandbox.components.types import List, Option, Primitive, Type, Variant
from sandbox.components.values import to_json
from sandbox.engine import ComponentResult
from sandbox.grants import FolderGrant, Grants
from sandbox.module import Import, Kind, classify, content_hash
from sandbox.services.request import Ask, Refusal, Service, ServiceError, nobody
from sandbox.testing import wat
from sandbox.wasmtime_engine import WasmtimeEngine

MIB = 1024 * 1024
BRIEF = Limits(fuel=20_000_000, wall_ms=5_000)
OK = "(i32.const 64)"


class Bench:
    """Compiles components and calls their functions."""

    def __init__(self, folder: Path) -> None:
        self.engine = WasmtimeEngine()
        self._folder = folder

    def make(self, text: str) -> tuple[Path, tuple[Function, ...]]:
        data = wat(text)
        compiled = self.engine.compile(data)
        artifact = self._folder / f"{content_hash(data)}.cwasm"
        if not artifact.exists():
            artifact.write_bytes(compiled.code)
        return artifact, functions_of((item.name, item.type) for item in compiled.exports)

    def imports(self, text: str) -> tuple[Import, ...]:
        return self.engine.compile(wat(text)).imports

    def result(
        self,
        text: str,
        arguments: dict[str, Any] | None = None,
        *,
        function: str = "call",
        limits: Limits = BRIEF,
        grants: Grants | None = None,
        ask: Ask = nobody,
    ) -> ComponentResult:
        artifact, functions = self.make(text)
        found = next(item for item in functions if item.export == function)
        if arguments is None:
            arguments = {"input": "abc"}
        return self.engine.call_component(
            artifact,
            found,
            json.dumps(arguments).encode(),
            limits=limits,
            grants=grants or Grants(),
            ask=ask,
        )

    def error(
        self, text: str, arguments: dict[str, Any] | None = None, **given: Any
    ) -> SandboxError:
        with pytest.raises(SandboxError) as raised:
            self.result(text, arguments, **given)
        return raised.value


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One engine for all tests."""
    return Bench(tmp_path_factory.mktemp("components"))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=types)
def test_values_of_every_type_go_in_and_out(bench: Bench, data: st.DataObject, kind: Type) -> None:
    """A guest that gives its argument back gives back what was sent, for any type."""
    text, whole = echo(kind)
    plain = to_json(kind, data.draw(values(kind)))
    given_value = [plain, *[7] * PADS]
    _, (function,) = bench.make(text)
    assert function.params == (("v", whole),)
    got = bench.result(text, {"v": given_value}, function="echo")
    assert json.loads(got.data) == given_value


def test_a_variant_keeps_its_case(bench: Bench) -> None:
    """Also where Python's own types would not tell the cases apart."""
    kind = Variant((("number", Primitive("u32")), ("yes", Primitive("bool")), ("maybe", None)))
    text, _ = echo(List(kind))
    sent = [{"yes": True}, {"number": 1}, {"maybe": None}, {"yes": False}]
    got = bench.result(text, {"v": [sent, *[0] * PADS]}, function="echo")
    assert json.loads(got.data)[0] == sent


def test_bytes_are_fast(bench: Bench) -> None:
    """A MiB of list<u8> in both directions, in base64."""
    text, _ = echo(List(Primitive("u8")))
    sent = "QUJD" * (MIB // 4)
    begun = time.monotonic()
    got = bench.result(text, {"v": [sent, *[0] * PADS]}, function="echo")
    assert json.loads(got.data)[0] == sent
    assert time.monotonic() - begun < 5


@settings(max_examples=60, deadline=None)
@given(value=json_values)
def test_no_json_breaks_a_call(bench: Bench, value: Any) -> None:
    """It is taken, or refused with a place."""
    text, _ = echo(Option(List(Primitive("string"))))
    try:
        got = bench.result(text, {"v": [value, *[0] * PADS]}, function="echo")
    except SandboxError as error:
        refused = error.reason is Reason.BAD_ARGUMENTS, str(error.details["path"])[:2]
    else:
        refused = None
    if refused is None:
        assert json.loads(got.data)[0] == value
    else:
        assert refused == (True, "/v")


def test_wrong_arguments_name_the_place(bench: Bench) -> None:
    """Before anything of the guest runs."""
    error = bench.error(tool("unreachable"), {"input": 3})
    assert (error.reason, error.details["path"]) == (Reason.BAD_ARGUMENTS, "/input")
    assert "3 is not a string" in error.message


def test_a_tool_gives_its_answer(bench: Bench) -> None:
    """describe and call of the fixed world; each call costs the same fuel."""
    told = bench.result(tool(OK), {}, function="describe")
    assert json.loads(told.data) == "{} "
    results = [bench.result(tool(OK)) for _ in range(3)]
    assert {(item.data, item.failed) for item in results} == {(b'"abc"', False)}
    assert len({item.fuel_used for item in results}) == 1


def test_an_err_is_a_result(bench: Bench) -> None:
    """With its words, told apart from success."""
    got = bench.result(tool(f"(i32.store (i32.const 64) (i32.const 1)) {OK}"))
    assert (got.data, got.failed) == (b'"abc"', True)


def test_each_call_is_afresh(bench: Bench) -> None:
    """What one call stored, the next does not find."""
    count = """
      (i32.store (i32.const 1024) (i32.add (i32.load (i32.const 1024)) (i32.const 1)))
      (if (i32.gt_u (i32.load (i32.const 1024)) (i32.const 1)) (then unreachable))
    """
    for _ in range(3):
        assert bench.result(tool(count + OK)).data == b'"abc"'


ENDLESS = {
    "a loop": tool("(loop $l (br $l)) unreachable"),
    "a loop at the start": component(
        MEMORY + '(func $s (loop $l (br $l))) (start $s) (func (export "call"))',
        lift("call", ""),
    ),
    "a tail call": component(
        MEMORY + '(func $s return_call $s) (func (export "call") (call $s))', lift("call", "")
    ),
    "an allocator": component(
        '(memory (export "memory") 1) (func (export "realloc") (param i32 i32 i32 i32)'
        '(result i32) (loop $l (br $l)) unreachable) (func (export "call") (param i32 i32))',
        lift("call", '(param "input" string)'),
    ),
}


@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS)
def test_what_does_not_end_runs_out(bench: Bench, text: str) -> None:
    """Of fuel, or of time when it has fuel."""
    arguments = {"input": "x"} if 'param "input"' in text else {}
    assert bench.error(text, arguments).reason is Reason.OUT_OF_FUEL
    begun = time.monotonic()
    error = bench.error(text, arguments, limits=Limits(fuel=10**12, wall_ms=100))
    assert error.reason is Reason.TIMEOUT
    assert time.monotonic() - begun < 3


def test_memory_is_bounded(bench: Bench) -> None:
    """Growth past the limit is refused to the guest, which then reports how far it came."""
    grow = """
      (loop $more
        (local.set $n (memory.grow (i32.const 1)))
        (br_if $more (i32.ne (local.get $n) (i32.const -1))))
      (i32.store (i32.const 72) (i32.const 0))
      (if (i32.ne (memory.size) (i32.const 64)) (then unreachable))
    """
    got = bench.result(tool(grow + OK), limits=replace(BRIEF, memory_bytes=4 * MIB))
    assert got.data == b'""'


@pytest.mark.parametrize(
    "extra",
    ["(memory 1000)", "(table 60000 funcref)", "(memory 1) (memory 1) (memory 1) (memory 1)"],
)
def test_what_declares_too_much_is_refused(bench: Bench, extra: str) -> None:
    """At instantiation, with the limits in the error."""
    text = f"""(component
      (core module $big {extra})
      (core instance (instantiate $big))
      (core module $m {MEMORY} (func (export "call")))
      (core instance $i (instantiate $m))
      {lift("call", "")})"""
    if extra.count("memory") > 1:
        text = text.replace(f"$big {extra}", "$big (memory 1)").replace(
            "(core instance (instantiate $big))", "(core instance (instantiate $big))" * 4
        )
    error = bench.error(text, {}, limits=replace(BRIEF, memory_bytes=MIB))
    assert error.reason is Reason.MODULE_TOO_LARGE
    assert error.details["memory_bytes"] == MIB


def test_recursion_ends_as_a_trap(bench: Bench) -> None:
    """In the engine's own words, and the next call is served."""
    functions = MEMORY + '(func $r (export "call") (call $r) (call $r))'
    text = component(functions, lift("call", ""))
    error = bench.error(text, {})
    assert error.reason is Reason.TRAP
    assert "stack" in error.message
    assert bench.result(tool(OK)).data == b'"abc"'


def test_a_trap_is_told(bench: Bench) -> None:
    """What the engine calls it stands in the error."""
    error = bench.error(tool("unreachable"))
    assert error.reason is Reason.TRAP
    assert "unreachable" in str(error.details["trap"])


BAD_REPLIES = {
    "a length out of memory": "(i32.store (i32.const 72) (i32.const 0x7fffffff))",
    "a pointer out of memory": "(i32.store (i32.const 68) (i32.const -1))",
    "no UTF-8": "(i32.store (i32.const 1024) (i32.const 0xffffffff))"
    "(i32.store (i32.const 68) (i32.const 1024)) (i32.store (i32.const 72) (i32.const 4))",
    "no such case": "(i32.store (i32.const 64) (i32.const 200))",
}


@pytest.mark.parametrize("code", BAD_REPLIES.values(), ids=BAD_REPLIES)
def test_a_reply_that_is_none_is_a_trap(bench: Bench, code: str) -> None:
    """The engine checks what comes back; nothing is read outside the guest."""
    assert bench.error(tool(code + OK)).reason is Reason.TRAP


def test_a_reply_address_outside_is_a_trap(bench: Bench) -> None:
    """Where the result itself lies outside of memory, or not aligned."""
    for address in ("-4", "66", "0x7ffffff0"):
        assert bench.error(tool(f"(i32.const {address})")).reason is Reason.TRAP


def test_a_large_reply_is_refused(bench: Bench) -> None:
    """With its size and the limit."""
    code = (
        "(i32.store (i32.const 68) (i32.const 0x4000)) (i32.store (i32.const 72) (i32.const 5000))"
    )
    error = bench.error(tool(code + OK), limits=replace(BRIEF, reply_bytes=4_999))
    assert error.reason is Reason.REPLY_TOO_LARGE
    assert (error.details["given"], error.details["limit"]) == (5_000, 4_999)
    # Each zero byte is six characters of JSON.
    error = bench.error(tool(code + OK), limits=replace(BRIEF, reply_bytes=6_000))
    assert (error.reason, error.details["given"]) == (Reason.REPLY_TOO_LARGE, 30_002)


def _aliased(count: int, length: int) -> str:
    """``list<string>`` whose ``count`` strings are all the same ``length`` bytes."""
    pages = (count * 8 + length) // 65_536 + 3
    functions = f"""
      (memory (export "memory") {pages})
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
      (func (export "call") (result i32) (local $at i32)
        (i32.store (i32.const 16) (i32.const 65536))
        (i32.store (i32.const 20) (i32.const {count}))
        (loop $more
          (i32.store (i32.add (i32.const 65536) (i32.mul (local.get $at) (i32.const 8)))
            (i32.const {65_536 + count * 8}))
          (i32.store (i32.add (i32.const 65540) (i32.mul (local.get $at) (i32.const 8)))
            (i32.const {length}))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $at) (i32.const {count}))))
        (i32.const 16))"""
    return component(functions, lift("call", "(result (list string))"))


def test_one_string_many_times_is_bounded(bench: Bench) -> None:
    """Copies of one long string, and very many of an empty one."""
    error = bench.error(_aliased(20, MIB), {}, limits=replace(BRIEF, reply_bytes=10 * MIB))
    assert error.reason is Reason.REPLY_TOO_LARGE
    error = bench.error(_aliased(300_000, 0), {}, limits=BRIEF)
    assert error.reason is Reason.REPLY_TOO_LARGE
    assert error.details["limit"] == 250_000
    assert json.loads(bench.result(_aliased(3, 2), {}).data) == ["\0\0"] * 3


LOG = tool_with(
    "log",
    "(param i32 i32 i32)",
    f"(call $host (i32.const 2) (local.get $p) (local.get $n)) {OK}",
)


def test_lines_are_kept(bench: Bench) -> None:
    """With the level; long ones are cut, too many are counted."""
    got = bench.result(LOG, {"input": "hällo"})
    assert [(line.level, line.text, line.cut) for line in got.logs] == [(2, "hällo", False)]
    got = bench.result(LOG, {"input": "x" * 10_000})
    assert (len(got.logs[0].text), got.logs[0].cut) == (4_096, True)
    got = bench.result(LOG, limits=replace(BRIEF, log_lines=0))
    assert (got.logs, got.logs_dropped) == ((), 1)


def test_a_huge_line_does_not_fit(bench: Bench) -> None:
    """A line as long as memory is read once; a longer one is a trap."""
    huge = tool_with(
        "log",
        "(param i32 i32 i32)",
        f"(call $host (i32.const 0) (i32.const 0) (i32.const -1)) {OK}",
    )
    assert bench.error(huge).reason is Reason.TRAP


def test_host_calls_cost_fuel(bench: Bench) -> None:
    """A loop of them runs out long before it costs seconds."""
    flood = tool_with("now", "(result i64)", f"(loop $l (drop (call $host)) (br $l)) {OK}")
    begun = time.monotonic()
    error = bench.error(flood)
    assert error.reason is Reason.OUT_OF_FUEL
    assert time.monotonic() - begun < 3


ASKS = """(call $host (local.get $p) (local.get $n) (i32.const 64))
  (i32.const 64)"""
ASK_TYPE = "(param i32 i32 i32)"


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("http", Service.HTTP),
        ("query", Service.QUERY),
        ("memory-search", Service.MEMORY_SEARCH),
    ],
)
def test_questions_reach_the_host(bench: Bench, name: str, service: Service) -> None:
    """Text in, text out; a refusal is the err of the result, as JSON."""
    asked = []

    def ask(which: Service, key: bytes, body: bytes) -> bytes:
        asked.append((which, key, body))
        return b'{"answer": 1}'

    text = tool_with(name, ASK_TYPE, ASKS)
    got = bench.result(text, {"input": "q"}, ask=ask)
    assert (json.loads(got.data), got.failed) == ('{"answer": 1}', False)
    assert asked == [(service, b"", b"q")]
    refused = bench.result(text, {"input": "q"})
    assert refused.failed
    assert json.loads(json.loads(refused.data))["code"] == "unavailable"


def test_a_failing_host_function_is_a_host_error(bench: Bench) -> None:
    """Not the guest's, and the next call is served."""

    def ask(_which: Service, _key: bytes, _body: bytes) -> bytes:
        raise ZeroDivisionError

    text = tool_with("http", ASK_TYPE, ASKS)
    error = bench.error(text, ask=ask)
    assert error.reason is Reason.HOST_ERROR
    assert error.details["function"] == "caxton:tool/host@0.1.0.http"
    assert bench.result(text, ask=lambda *_: b"fine").data == b'"fine"'


def test_an_answer_that_is_no_text_is_an_err(bench: Bench) -> None:
    """A string of a component is UTF-8."""
    got = bench.result(tool_with("http", ASK_TYPE, ASKS), ask=lambda *_: b"\xff")
    assert got.failed
    assert "not text" in json.loads(got.data)


def test_keys(bench: Bench) -> None:
    """What a call writes is told, and kept only when it succeeds."""
    put = "(call $host (local.get $p) (local.get $n) (local.get $p) (i32.const 1) (i32.const 64))"
    kind = "(param i32 i32 i32 i32 i32)"
    # The result of kv-put is result<_, string>: at 64 as well, and 0 there is ok.
    reset = """(if (i32.load8_u (i32.const 64)) (then unreachable))
      (i32.store (i32.const 64) (i32.const {0}))
      (i32.store (i32.const 68) (local.get $p)) (i32.store (i32.const 72) (local.get $n))"""
    ask = _with_keys({})
    got = bench.result(tool_with("kv-put", kind, put + reset.format(0) + OK), ask=ask)
    assert dict(got.written) == {b"abc": b"a"}
    got = bench.result(tool_with("kv-put", kind, put + reset.format(1) + OK), ask=ask)
    assert (got.failed, dict(got.written)) == (True, {})
    got = bench.result(
        tool_with("kv-put", kind, put + OK), limits=replace(BRIEF, kv_bytes=1), ask=ask
    )
    assert json.loads(json.loads(got.data))["code"] == "too_large"


def _with_keys(stored: dict[bytes, bytes]) -> Ask:
    def ask(which: Service, key: bytes, _body: bytes) -> bytes | None:
        if which is Service.KV_LIST:
            return json.dumps([name.decode() for name in stored if name.startswith(key)]).encode()
        return stored.get(key)

    return ask


def test_a_key_is_read(bench: Bench) -> None:
    """Its value, none, or why not: option and result each in its place."""
    # result<option<string>, string> at 1024: the case, some or none, and the text.
    code = """(call $host (local.get $p) (local.get $n) (i32.const 1024))
      (if (i32.load8_u (i32.const 1024))
        (then
          (i32.store (i32.const 64) (i32.const 1))
          (i64.store (i32.const 68) (i64.load (i32.const 1028))))
        (else
          (if (i32.load8_u (i32.const 1028))
            (then (i64.store (i32.const 68) (i64.load (i32.const 1032))))
            (else (i32.store (i32.const 72) (i32.const 0))))))
      """
    text = tool_with("kv-get", ASK_TYPE, code + OK)
    ask = _with_keys({b"k": b"value"})
    assert bench.result(text, {"input": "k"}, ask=ask).data == b'"value"'
    assert bench.result(text, {"input": "none"}, ask=ask).data == b'""'

    def refuse(*_: object) -> bytes:
        raise ServiceError(Refusal.NOT_GRANTED, "no keys")

    refused = bench.result(text, {"input": "k"}, ask=refuse)
    assert refused.failed
    assert json.loads(json.loads(refused.data)) == {"code": "not_granted", "message": "no keys"}


def test_keys_are_listed_and_removed(bench: Bench) -> None:
    """A list of texts; a bool that says whether the key was there."""
    ask = _with_keys({b"abc1": b"", b"abc2": b"", b"x": b""})
    # result<list<string>, string> at 1024; the answer is the second of the list.
    second = """(call $host (local.get $p) (local.get $n) (i32.const 1024))
      (if (i32.or (i32.load8_u (i32.const 1024)) (i32.ne (i32.load (i32.const 1032)) (i32.const 2)))
        (then unreachable))
      (i64.store (i32.const 68) (i64.load (i32.add (i32.load (i32.const 1028)) (i32.const 8))))
    """
    assert bench.result(tool_with("kv-list", ASK_TYPE, second + OK), ask=ask).data == b'"abc2"'
    # result<bool, string> at 1024; fails when the key was there.
    delete = """(call $host (local.get $p) (local.get $n) (i32.const 1024))
      (if (i32.load8_u (i32.const 1024)) (then unreachable))
      (i32.store (i32.const 64) (i32.load8_u (i32.const 1028)))
    """
    text = tool_with("kv-delete", ASK_TYPE, delete + OK)
    assert bench.result(text, {"input": "x"}, ask=ask).failed
    gone = bench.result(text, {"input": "y"}, ask=ask)
    assert (gone.failed, dict(gone.written)) == (False, {b"y": None})


def test_a_core_module_is_no_artifact_of_a_component(bench: Bench, tmp_path: Path) -> None:
    """An artifact that does not load says so, and that it must be made again."""
    artifact = tmp_path / "x.cwasm"
    artifact.write_bytes(b"nothing")
    _, functions = bench.make(tool(OK))
    with pytest.raises(SandboxError, match="does not load") as raised:
        bench.engine.call_component(
            artifact, functions[1], b'{"input": ""}', limits=BRIEF, grants=Grants()
        )
    assert raised.value.details["stage"] == "load"


def test_many_calls_leave_nothing(bench: Bench) -> None:
    """No descriptors and no memory of calls that succeed, fail and trap."""
    texts = [LOG, tool("unreachable"), _aliased(3, 1000)]

    def rounds(count: int) -> None:
        for _ in range(count):
            bench.result(texts[0], {"input": "y" * 2_000})
            bench.error(texts[1])
            bench.result(texts[2], {})

    rounds(20)
    before = len(list(Path("/proc/self/fd").iterdir())), _resident()
    rounds(150)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before[0]
    assert _resident() - before[1] < 4 * MIB


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_folders_and_variables_are_wasi_only(bench: Bench, tmp_path: Path) -> None:
    """A component without WASI runs the same whatever is granted."""
    grants = Grants(folders=(FolderGrant(tmp_path, "data"),), env=(("A", "b"),))
    assert bench.result(tool(OK), grants=grants).data == b'"abc"'


def test_descriptions_are_in_the_record(bench: Bench) -> None:
    """Out of the component's own section, where it has one."""
    docs = b'\0{"worlds":{"w":{"funcs":{"call":{"docs":"Calls."}}}}}'
    content = bytes([12]) + b"package-docs" + docs
    data = wat(tool(OK)) + bytes([0, len(content)]) + content
    compiled = bench.engine.compile(data)
    functions = functions_of((item.name, item.type) for item in compiled.exports)
    assert {item.export: item.docs for item in functions} == {"describe": "", "call": "Calls."}


def test_kinds(bench: Bench) -> None:
    """A component is one by its exports, and needs nothing to be granted for the host."""
    compiled = bench.engine.compile(wat(LOG))
    assert classify(compiled.imports, compiled.exports, component=True) is Kind.COMPONENT
