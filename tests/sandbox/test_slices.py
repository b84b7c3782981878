"""Calls that begin where they are made: quick ones end there, others give way and go on."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import wasmtime

from sandbox import Limits, Reason, SandboxError
from sandbox.abi import Level
from sandbox.engine import GuestReply
from sandbox.services.request import Service
from sandbox.testing import AGENTS, ATTACKS, agent, reply, wat
from sandbox.wasmtime_engine import WasmtimeAgent, WasmtimeEngine, slices
from sandbox.wasmtime_engine import proof as proof_module
from sandbox.wasmtime_engine.agents import AWAY_CALLS, MOST_BRIEF_FUEL
from sandbox.wasmtime_engine.calls import BRIEF_BYTES, BRIEF_FUEL
from sandbox.wasmtime_engine.config import config_of
from sandbox.wasmtime_engine.proof import SLICED, gives_way, in_slices

ENGINE = WasmtimeEngine()
MIB = 1024 * 1024

WORD = reply("(i32.const 8)", "(i32.const 4)")
WORKS = agent(
    "(local $i i32) (local.set $i (i32.load (local.get $p)))"
    " (loop $again (br_if $again (i32.gt_s (local.tee $i (i32.sub (local.get $i) (i32.const 1)))"
    " (i32.const 0))))"
    " (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))" + WORD
)
"""Turns as often as it is told, and replies with how many calls it had."""

NOW = '(import "caxton" "now" (func $now (result i64)))'
FLOOD = agent(
    "(loop $again (drop (call $now)) (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8))"
    " (i32.const 1))) (br_if $again (i32.lt_u (i32.load (i32.const 8)) (i32.const 1000))))" + WORD,
    imports=NOW,
)
"""A thousand host calls, counted in its memory."""

Open = Callable[..., WasmtimeAgent]


def turns(number: int) -> bytes:
    """A message for ``WORKS``."""
    return number.to_bytes(4, "little")


QUICK, LONG = turns(10), turns(1_000_000)


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Opens an agent of this process."""

    def open_agent(text: str, limits: Limits | None = None, **more: object) -> WasmtimeAgent:
        path = tmp_path / f"{abs(hash(text))}.artifact"
        if not path.exists():
            path.write_bytes(ENGINE.compile(wat(text)).code)
        guest = ENGINE.open_agent(path, limits or Limits(), **more)  # type: ignore[arg-type]  # by name
        guest._away = 0  # as after a first call
        return guest

    return open_agent


def count(reply_: object) -> int:
    """What ``WORKS`` and ``FLOOD`` reply with."""
    assert isinstance(reply_, GuestReply)
    return int.from_bytes(reply_.data, "little")


def on_a_thread(work: Callable[[], object]) -> object:
    """What ``work`` gives or raises on a thread of its own, with room for a guest's stack."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(work())
        except SandboxError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    return found[0]


def test_guests_give_way_here() -> None:
    """With the version and interpreter this is made for."""
    assert gives_way()


def test_calls_in_slices_give_what_others_give() -> None:
    """Results, host calls in their order, traps and fuel: equal, whatever the slices are."""
    engine = wasmtime.Engine(config_of(Limits().stack_bytes))
    module = wasmtime.Module(engine, bytes(wasmtime.wat2wasm(SLICED)))
    plain = in_slices(engine, module, 0)
    assert len(plain[0]) > 8  # type: ignore[arg-type]  # a list
    for fuel in (100, 5_000, 20_000):
        assert in_slices(engine, module, fuel) == [plain[0], True, True]


def test_without_the_proof_calls_go_to_threads(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interpreter that watches its stack, say: nothing begins on the caller's thread."""
    monkeypatch.setattr(proof_module.sys, "version_info", (3, 14, 0))
    gives_way.cache_clear()
    try:
        guest = opened(WORKS)
        assert guest.begin(QUICK) is None
        assert count(guest.call(QUICK)) == 1
    finally:
        monkeypatch.undo()
        gives_way.cache_clear()


def test_numbers_lie_where_the_headers_say() -> None:
    """A number and its kind are four words, the number the second."""
    assert ctypes.sizeof(wasmtime._ffi.wasmtime_val_t) == 8 * slices.WORDS
    assert wasmtime._ffi.wasmtime_val_t.of.offset == 8
    assert wasmtime._ffi.WASMTIME_I32.value == 0


def test_the_first_call_is_made_elsewhere(opened: Open) -> None:
    """A guest that is opened for one message needs no stack of its own."""
    guest = opened(WORKS)
    guest._away = 1
    assert guest.begin(QUICK) is None
    assert count(guest.call(QUICK)) == 1
    assert guest._slices is None
    assert count(guest.begin(QUICK)) == 2


def test_a_quick_call_ends_where_it_began(opened: Open) -> None:
    """Its reply is there, and its cost is that of any other call."""
    guest, other = opened(WORKS), opened(WORKS)
    begun = guest.begin(QUICK)
    assert isinstance(begun, GuestReply)
    assert count(begun) == 1
    assert begun.fuel_used == other.call(QUICK).fuel_used
    assert begun.memory_bytes == 2 * 65536


def test_a_long_call_goes_on_elsewhere(opened: Open) -> None:
    """It left after its slice, ends on another thread, and costs what it costs in one."""
    guest, other = opened(WORKS), opened(WORKS)
    rest = guest.begin(LONG)
    assert rest is not None
    assert not isinstance(rest, GuestReply)
    with pytest.raises(SandboxError, match="calls on one guest follow each other"):
        guest.call(QUICK)
    done = on_a_thread(rest)
    assert count(done) == 1
    assert isinstance(done, GuestReply)
    assert done.fuel_used == other.call(LONG).fuel_used > 10 * BRIEF_FUEL
    assert count(guest.call(QUICK)) == 2


def test_after_a_long_call_a_guest_must_show_that_it_is_quick(opened: Open) -> None:
    """So many quick calls elsewhere; twice as many after the next long one."""
    guest = opened(WORKS)
    for away in (AWAY_CALLS[0], 2 * AWAY_CALLS[0]):
        rest = guest.begin(LONG)
        assert callable(rest)
        rest()
        assert guest.begin(QUICK) is None
        guest.call(LONG)
        for _ in range(away):
            assert guest.begin(QUICK) is None
            guest.call(QUICK)
        assert isinstance(guest.begin(QUICK), GuestReply)


def test_a_flood_of_host_calls_gives_way_too(opened: Open) -> None:
    """Each of them begins a new slice of the engine, none of them a new one of ours."""
    guest = opened(FLOOD)
    rest = guest.begin(b"")
    assert callable(rest)
    made = int.from_bytes(guest._memory.read(8, 4), "little")
    assert 0 < made < 200
    assert count(on_a_thread(rest)) == 1000


def test_code_that_cannot_be_stopped_runs_where_it_began_only_once(opened: Open) -> None:
    """Host calls one after the other, without a loop: nothing looks at the fuel between them."""
    guest = opened(agent("(drop (call $now))" * 1_000 + WORD, imports=NOW))
    begun = guest.begin(b"")
    assert isinstance(begun, GuestReply)
    assert begun.fuel_used > MOST_BRIEF_FUEL
    for _ in range(AWAY_CALLS[1] + 1):
        assert guest.begin(b"") is None
        guest._away -= 1
    assert guest.begin(b"") is None


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_end_with_their_reason(opened: Open, name: str) -> None:
    """Whether they end where they began or elsewhere."""
    text, reason = ATTACKS[name]
    guest = opened(text, Limits(fuel=20_000_000, wall_ms=20_000))
    try:
        begun = guest.begin(b"x")
        assert callable(begun)
        found = on_a_thread(begun)
    except SandboxError as error:
        found = error
    assert isinstance(found, SandboxError)
    assert found.reason is reason
    with pytest.raises(SandboxError) as again:
        guest.call(b"x")
    alive = reason is Reason.REPLY_TOO_LARGE
    assert again.value.reason is (reason if alive else Reason.INSTANCE_DEAD)


def test_the_clock_stops_what_goes_on_elsewhere(opened: Open) -> None:
    """With fuel for hours; the clock begins when it goes on."""
    guest = opened(ATTACKS["infinite loop"][0], Limits(fuel=10**12, wall_ms=30))
    rest = guest.begin(b"x")
    assert callable(rest)
    stopped = on_a_thread(rest)
    assert isinstance(stopped, SandboxError)
    assert stopped.reason is Reason.TIMEOUT
    assert stopped.details["limit_ms"] == 30
    with pytest.raises(SandboxError, match="ended earlier"):
        guest.call(b"x")


def test_a_call_may_be_abandoned(opened: Open) -> None:
    """The guest is ended half-way, and others live."""
    guest, other = opened(WORKS), opened(WORKS)
    rest = guest.begin(LONG)
    assert rest is not None
    assert not isinstance(rest, GuestReply)
    rest.abandon()
    with pytest.raises(SandboxError, match="abandoned"):
        guest.call(QUICK)
    assert count(other.begin(QUICK)) == 1
    guest.close()


def test_a_call_that_nobody_goes_on_with_ends_with_its_guest(opened: Open) -> None:
    """Whichever of the two the collector comes to first."""
    for _ in range(20):
        guest = opened(WORKS)
        cycle: list[object] = [guest, guest.begin(LONG)]
        cycle.append(cycle)
        guest._store.close()
        del guest, cycle
        gc.collect()
    assert count(opened(WORKS).begin(QUICK)) == 1


def test_large_messages_and_large_guests_begin_elsewhere(opened: Open) -> None:
    """To copy or fill all of it would hold the thread up."""
    assert opened(AGENTS["echo"], Limits()).begin(bytes(BRIEF_BYTES + 1)) is None
    large = agent(WORD, pages=80)
    assert opened(large).begin(b"") is None


def test_a_guest_that_ended_says_so(opened: Open) -> None:
    """Whoever begins a call of it hears it from the call that follows."""
    guest = opened(WORKS)
    guest.close()
    assert guest.begin(QUICK) is None
    with pytest.raises(SandboxError) as dead:
        guest.call(QUICK)
    assert dead.value.reason is Reason.INSTANCE_DEAD


def test_clocks_of_other_guests_do_not_send_a_quick_call_away(opened: Open) -> None:
    """An epoch that passes makes it give way, and it goes on at once."""
    passing = ENGINE._platform(Limits().stack_bytes, Level.INLINE).engine
    asked: list[Service] = []

    def ask(service: Service, _key: bytes, _body: bytes) -> bytes | None:
        asked.append(service)
        passing.increment_epoch()
        return None

    text = agent(
        "(i32.store (i32.const 8) (call $get (i32.const 64) (i32.const 1)))"
        " (loop $once (i32.store8 (i32.const 64) (i32.const 97)))" + WORD,
        imports='(import "caxton" "kv_get" (func $get (param i32 i32) (result i32)))',
    )
    guest = opened(text, ask=ask)
    assert isinstance(guest.begin(b""), GuestReply)
    assert asked == [Service.KV_GET]


def test_a_small_guest_that_is_not_in_a_call_is_closed_at_once(opened: Open) -> None:
    """One in a call is waited for, and memory that is large takes its time to be freed."""
    guest = opened(WORKS)
    rest = guest.begin(LONG)
    assert callable(rest)
    assert not guest.close_at_once()
    assert count(rest()) == 1
    assert guest.close_at_once()
    assert guest.close_at_once()
    with pytest.raises(SandboxError, match="it was closed"):
        guest.call(QUICK)
    assert not opened(agent(WORD, pages=80)).close_at_once()


def test_what_one_call_left_is_not_seen_by_another_guest(opened: Open) -> None:
    """Numbers travel in buffers of the guest's own."""
    guests = [opened(WORKS) for _ in range(3)]
    rests = [guest.begin(LONG) for guest in guests]
    replies = [count(on_a_thread(partial(rest))) for rest in rests if callable(rest)]
    assert replies == [1, 1, 1]
