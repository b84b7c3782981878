"""Attacks of agent modules on the host that runs them, in this process. Made from text."""

from __future__ import annotations

import struct
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sandbox_processes import reason_of

from sandbox import Grants, Limits, Reason, SandboxError
from sandbox.abi import FUNCTIONS, HostFunction, Level
from sandbox.engine import AgentInstance
from sandbox.errors import InvalidSetting
from sandbox.guest_threads import GuestThreads
from sandbox.host import ASK_FUEL
from sandbox.module import classify, content_hash
from sandbox.services.request import Service
from sandbox.testing import AGENTS, ATTACKS, MIB, agent, reply, wat
from sandbox.wasmtime_engine import WasmtimeEngine
from sandbox.wasmtime_engine.config import config_of

ENGINE = WasmtimeEngine()

NOTHING = "(i64.const 0)"
WORD = reply("(i32.const 8)", "(i32.const 4)")
"""A reply of the 32 bits at address 8."""


class Opener:
    """Opens guests from their text."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, text: str, limits: Limits | None = None, **more: object) -> AgentInstance:
        data = wat(text)
        path = self._folder / content_hash(data)
        if not path.exists():
            path.write_bytes(ENGINE.compile(data).code)
        return ENGINE.open_agent(path, limits or Limits(), **more)  # type: ignore[arg-type]  # by name


@pytest.fixture(scope="module")
def opener(tmp_path_factory: pytest.TempPathFactory) -> Opener:
    """One folder of artifacts for all tests."""
    return Opener(tmp_path_factory.mktemp("attacks"))


def word(guest: AgentInstance, data: bytes = b"") -> int:
    """The signed number a guest replies."""
    number: int = struct.unpack("<i", guest.call(data).data)[0]
    return number


def importing(item: HostFunction) -> tuple[str, str]:
    """The import of a host function, and its call on constants to be filled in."""
    result = f"(result {item.result})" if item.result else ""
    params = f"(param {' '.join(['i32'] * item.params)})" if item.params else ""
    text = f'(import "{item.module}" "{item.name}" (func $f {params} {result}))'
    given = " ".join("(i32.const {})" for _ in range(item.params))
    call = f"(call $f {given})"
    return text, f"(drop {call})" if item.result else call


ASKING = tuple(item for item in FUNCTIONS if item.name in set(Service))
POINTERS: dict[str, tuple[tuple[int, int], ...]] = {
    item.name: ((1, 2),) if item.name == "log" else ((0, 1),) for item in FUNCTIONS if item.params
} | {"kv_put": ((0, 1), (2, 3)), "abort": ()}
"""Which of a function's numbers are a pointer and its length."""


@pytest.mark.parametrize("pages", [1, 1600])
def test_a_table_or_memory_that_grows_without_end_is_refused_to_the_guest(
    opener: Opener, pages: int
) -> None:
    """``table.grow`` by a hundred million and ``memory.grow`` by a hundred megabytes give -1."""
    table = agent(
        "(i32.store (i32.const 8) (table.grow $t (ref.null func) (i32.const 100000000)))" + WORD,
        extra="(table $t 1 funcref)",
    )
    assert word(opener(table)) == -1
    memory = agent(f"(i32.store (i32.const 8) (memory.grow (i32.const {pages})))" + WORD)
    assert word(opener(memory)) == (2 if pages == 1 else -1)


def test_tables_grow_to_their_limit_and_no_further(opener: Opener) -> None:
    """Element by element up to ``table_elements``; then -1, and the guest goes on."""
    text = agent(
        "(loop $again (br_if $again (i32.ne (table.grow $t (ref.null func) (i32.const 1))"
        " (i32.const -1)))) (i32.store (i32.const 8) (table.size $t))" + WORD,
        extra="(table $t 0 funcref)",
    )
    guest = opener(text, Limits(table_elements=100))
    assert word(guest) == 100
    assert word(guest) == 100


@pytest.mark.parametrize(
    "text",
    [
        "(module (memory 1) (memory 1) (memory 1))",
        "(module (type $a (array (mut i32))) (func (drop (array.new_default $a (i32.const 9)))))",
        "(module (type (struct (field i32))))",
        "(module (memory i64 1))",
        "(module (memory 1 2 shared))",
        "(module (tag $e (param i32)) (func (throw $e (i32.const 1))))",
    ],
)
def test_features_no_toolchain_needs_are_off(text: str) -> None:
    """Three memories, the GC heap, 64 bit and shared memory, exceptions: refused to compile."""
    assert reason_of(lambda: ENGINE.compile(wat(text))) is Reason.COMPILE_FAILED


NOW = '(import "caxton" "now" (func $now (result i64)))'
DEEPER = (
    "(func $deeper (param i64) (result i64) (if (i64.eqz (i64.rem_u (local.get 0) (i64.const 64)))"
    " (then (drop (call $now))))"
    " (i64.add (call $deeper (i64.add (local.get 0) (i64.const 1))) (local.get 0)))"
)


@pytest.mark.parametrize("stack_bytes", [64 * 1024, 128 * 1024, 512 * 1024, 1024 * 1024])
def test_recursion_without_end_is_a_trap_on_every_stack(opener: Opener, stack_bytes: int) -> None:
    """With host calls on the way down, whose own frames need room beyond the guest's."""
    text = agent("(call $deeper (i64.const 1))", imports=NOW, extra=DEEPER)
    threads = GuestThreads(2)
    try:
        for _ in range(5):
            guest = opener(text, Limits(stack_bytes=stack_bytes, wall_ms=30_000))
            call = threads.submit(partial(reason_of, partial(guest.call, b"x")))
            assert call.result(30) is Reason.TRAP
    finally:
        threads.close()


ANSWER = agent("(i64.load (i32.const 1024))", pages=1)
"""Replies with the range it was told: two words, length and address."""

EDGES = st.one_of(
    st.sampled_from([0, 1, 8, 65535, 65536, 65537, 2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 65536),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=EDGES, length=EDGES)
def test_a_reply_is_the_bytes_of_its_range_or_an_error(
    opener: Opener, start: int, length: int
) -> None:
    """Never fewer bytes, never bytes from the end: whatever a guest says of its reply."""
    guest = opener(ANSWER, Limits(reply_bytes=100_000))
    request = struct.pack("<II", length, start)
    if length > 100_000:
        assert reason_of(lambda: guest.call(request)) is Reason.REPLY_TOO_LARGE
    elif start + length > 65536:
        assert reason_of(lambda: guest.call(request)) is Reason.BAD_POINTER
    else:
        image = bytearray(65536)
        image[1024:1032] = request
        assert guest.call(request).data == bytes(image[start : start + length])


@pytest.mark.parametrize("item", [one for one in FUNCTIONS if POINTERS.get(one.name)],
                         ids=lambda item: item.name)  # fmt: skip
def test_huge_arguments_of_host_functions_are_refused(opener: Opener, item: HostFunction) -> None:
    """Lengths of -1, ranges over the end, pointers that wrap: a typed end, and no bytes moved."""
    for at, size in POINTERS[item.name]:
        for pointer, length in ((0, -1), (-1, -1), (-8, 16), (131072, 1), (65536, 2**31 - 1)):
            numbers = [0] * item.params
            numbers[at], numbers[size] = pointer, length
            text, call = importing(item)
            limits = Limits(fuel=10**9, asks=10)
            grants = Grants() if item.level is Level.PROCESS else None
            guest = opener(
                agent(call.format(*numbers) + NOTHING, imports=text), limits, grants=grants
            )
            reason = reason_of(partial(guest.call, b""))
            if item.name == "take":
                # Nothing was asked, so nothing is copied; the pointer is checked all the same.
                assert reason is (Reason.BAD_POINTER if pointer & 0xFFFFFFFF > 131072 else None)
            elif item.name == "kv_put" and at == 2:
                # Refused before the value is looked at, or when it is: -2 or the end.
                assert reason in {None, Reason.BAD_POINTER}
            else:
                assert reason is Reason.BAD_POINTER, (item.name, pointer, length)


@pytest.mark.parametrize("item", [one for one in FUNCTIONS if one.name != "abort"],
                         ids=lambda item: item.name)  # fmt: skip
def test_a_flood_of_host_calls_is_paid_in_fuel(opener: Opener, item: HostFunction) -> None:
    """Ten million units buy two thousand calls, or a hundred questions, and milliseconds."""
    text, call = importing(item)
    body = f"(loop $again {call.format(*[0] * item.params)} (br $again)) {NOTHING}"
    asked: Counter[Service] = Counter()

    def ask(service: Service, _key: bytes, _body: bytes) -> bytes:
        asked[service] += 1
        return b"[]"

    limits = Limits(fuel=10_000_000, wall_ms=60_000, asks=100_000)
    grants = Grants() if item.level is Level.PROCESS else None
    guest = opener(agent(body, imports=text), limits, grants=grants, ask=ask)
    started = time.monotonic()
    assert reason_of(lambda: guest.call(b"")) is Reason.OUT_OF_FUEL
    assert time.monotonic() - started < 10
    assert sum(asked.values()) <= limits.fuel // ASK_FUEL


def test_a_host_function_that_calls_its_guest_is_refused(opener: Opener) -> None:
    """Re-entrancy ends at the second level; the call under way is not harmed."""
    inner: list[Reason | None] = []
    text = agent(
        "(drop (call $get (local.get $p) (local.get $n)))" + WORD,
        imports='(import "caxton" "kv_get" (func $get (param i32 i32) (result i32)))',
    )

    def ask(_service: Service, _key: bytes, _body: bytes) -> bytes:
        inner.append(reason_of(lambda: guest.call(b"again")))
        return b"value"

    guest = opener(text, ask=ask)
    assert word(guest, b"key") == 0
    assert inner == [Reason.HOST_ERROR]
    assert word(guest, b"key") == 0


def test_nested_calls_of_two_guests_keep_their_budgets(opener: Opener) -> None:
    """A guest whose question makes another one run: each has its own fuel and its own failure."""
    text = agent(
        "(drop (call $get (local.get $p) (local.get $n)))" + WORD,
        imports='(import "caxton" "kv_get" (func $get (param i32 i32) (result i32)))',
    )
    other = opener(ATTACKS["infinite loop"][0], Limits(fuel=1_000_000))
    seen: list[Reason | None] = []

    def ask(_service: Service, _key: bytes, _body: bytes) -> bytes:
        seen.append(reason_of(lambda: other.call(b"x")))
        return b""

    guest = opener(text, ask=ask)
    with ThreadPoolExecutor(1) as thread:
        got = thread.submit(guest.call, b"key").result(30)
    assert seen == [Reason.OUT_OF_FUEL]
    assert ASK_FUEL < got.fuel_used < 1_000_000


def test_no_error_of_sixteen_threads_is_anothers(opener: Opener) -> None:
    """16,000 calls, most of them failing in host functions: not one wrong error or reply."""
    failing = agent(
        "(drop (call $get (local.get $p) (local.get $n)))" + WORD,
        imports='(import "caxton" "kv_get" (func $get (param i32 i32) (result i32)))',
    )

    def ask(_service: Service, key: bytes, _body: bytes) -> bytes:
        raise LookupError(key.decode())

    cases: list[tuple[str, Reason | None]] = [
        (failing, Reason.HOST_ERROR),
        (ATTACKS["abort"][0], Reason.GUEST_ABORT),
        (ATTACKS["log from outside"][0], Reason.BAD_POINTER),
        (ATTACKS["random beyond its limit"][0], Reason.MESSAGE_TOO_LARGE),
        (ATTACKS["host call flood"][0], Reason.OUT_OF_FUEL),
        (ATTACKS["unreachable"][0], Reason.TRAP),
        (AGENTS["echo"], None),
        (AGENTS["chatty"], None),
    ]
    limits = Limits(fuel=200_000, wall_ms=60_000)
    for text, _reason in cases:
        opener(text, limits).close()
    wrong: list[str] = []
    together = threading.Barrier(16)

    def work(number: int) -> None:
        together.wait(60)
        for turn in range(1_000):
            text, reason = cases[(number + turn) % len(cases)]
            guest = opener(text, limits, ask=ask)
            name = f"{number}-{turn}"
            try:
                got = guest.call(name.encode())
            except SandboxError as error:
                ours = error.reason is reason and (
                    reason is not Reason.HOST_ERROR or f"'{name}'" in error.message
                )
            else:
                ours = reason is None and name.encode() in (got.data, *got.sent)
            guest.close()
            if not ours:
                wrong.append(f"{name}: {reason}")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert wrong == []


def test_what_is_not_granted_cannot_be_imported() -> None:
    """Threads, sockets of other hosts and unknown names are refused with their name."""
    for module, name, params in (
        ("wasi", "thread-spawn", "i32"),
        ("wasi_snapshot_preview2", "fork", "i32"),
        ("env", "system", "i32"),
        ("caxton", "shell", "i32 i32"),
    ):
        text = agent(NOTHING, imports=f'(import "{module}" "{name}" (func (param {params})))')
        compiled = ENGINE.compile(wat(text))
        with pytest.raises(SandboxError, match=name) as refused:
            classify(compiled.imports, compiled.exports)
        assert refused.value.reason is Reason.UNGRANTED_IMPORT


def test_an_engine_links_nothing_that_classification_would_refuse(opener: Opener) -> None:
    """Also without the first check, an unknown import does not link at either level."""
    text = agent(NOTHING, imports='(import "env" "system" (func (param i32)))')
    for grants in (None, Grants()):
        with pytest.raises(SandboxError, match="system"):
            opener(text, grants=grants)
    asking = agent(NOTHING, imports=importing(ASKING[-1])[0])
    with pytest.raises(SandboxError, match=ASKING[-1].name):
        opener(asking)


def test_engine_flags_never_come_from_limits() -> None:
    """Flags that abort a process are constants: a stack size is all that limits choose."""
    for stack in (64, 128, 256, 512, 1024):
        assert config_of(stack * 1024) is not None
    with pytest.raises(InvalidSetting, match="stack_bytes"):
        Limits(stack_bytes=96 * 1024)


def test_after_all_of_them_the_engine_serves(opener: Opener) -> None:
    """Every attack of the corpus in a row, and between them an agent that lives on."""
    echo = opener(AGENTS["echo"])
    for text, reason in ATTACKS.values():
        guest = opener(text, Limits(fuel=2_000_000, wall_ms=20_000))
        assert reason_of(partial(guest.call, b"x")) is reason
        assert echo.call(b"alive").data == b"alive"
    assert echo.call(bytes(MIB // 16)).data == bytes(MIB // 16)
