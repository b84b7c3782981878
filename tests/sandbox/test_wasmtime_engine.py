"""The wasmtime engine keeps the laws of engines, and what is its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from sandbox import InvalidSetting, Limits, Reason, SandboxError
from sandbox.grants import Grants
from sandbox.guest_threads import GuestThreads
from sandbox.testing import AGENTS, ATTACKS, COMMANDS, EngineLaws, agent, reply, wat
from sandbox.ticker import Ticker
from sandbox.wasmtime_engine import WasmtimeEngine


class TestWasmtime(EngineLaws):
    """The laws."""

    make_engine = WasmtimeEngine

    def test_send_and_log_are_collected_and_bounded(self, tmp_path: Path) -> None:
        """Messages and lines come with the reply; over a limit they are refused or cut."""
        limits = Limits(log_line_bytes=4, sent_bytes=10, sent_messages=2)
        guest = self.open_agent(tmp_path, AGENTS["chatty"], limits)
        first = guest.call(b"hello")
        assert (first.sent, first.data) == ((b"hello",), bytes(4))
        assert first.logs[0].text == "hell"
        assert first.logs[0].cut
        assert first.logs[0].level == 2
        assert guest.call(b"longer than ten").data == (-1 & 0xFFFFFFFF).to_bytes(4, "little")

    def test_too_many_messages_are_refused_to_the_guest(self, tmp_path: Path) -> None:
        """A message over ``sent_messages`` gets -2, a line over ``log_lines`` is counted."""
        guest = self.open_agent(tmp_path, AGENTS["chatty"], Limits(sent_messages=0, log_lines=0))
        got = guest.call(b"x")
        assert got.data == (-2 & 0xFFFFFFFF).to_bytes(4, "little")
        assert (got.logs, got.logs_dropped) == ((), 1)

    def test_random_and_now_are_given(self, tmp_path: Path) -> None:
        """Host functions write where they are told."""
        data = self.open_agent(tmp_path, AGENTS["dice"]).call(b"").data
        assert int.from_bytes(data[:8], "little") > 1_600_000_000_000
        assert data[8:] != bytes(8)

    def test_a_guest_may_refuse_a_message_and_live(self, tmp_path: Path) -> None:
        """alloc gives 0: message_too_large, and the guest is not dead."""
        guest = self.open_agent(tmp_path, AGENTS["refusing"])
        for _ in range(2):
            assert self.reason_of(partial(guest.call, b"x")) is Reason.MESSAGE_TOO_LARGE

    def test_a_message_over_its_limit_is_refused_before_the_guest(self, tmp_path: Path) -> None:
        """The error names given and limit; the guest lives."""
        guest = self.open_agent(tmp_path, AGENTS["echo"], Limits(message_bytes=3))
        with pytest.raises(SandboxError) as refused:
            guest.call(b"four")
        assert refused.value.reason is Reason.MESSAGE_TOO_LARGE
        assert (refused.value.details["given"], refused.value.details["limit"]) == (4, 3)
        assert guest.call(b"abc").data == b"abc"

    def test_a_reply_over_its_limit_leaves_the_guest_alive(self, tmp_path: Path) -> None:
        """reply_too_large is no fault of the instance."""
        guest = self.open_agent(tmp_path, AGENTS["echo"], Limits(reply_bytes=2))
        assert self.reason_of(partial(guest.call, b"abc")) is Reason.REPLY_TOO_LARGE
        assert guest.call(b"ab").data == b"ab"

    def test_an_abort_carries_the_guests_words(self, tmp_path: Path) -> None:
        """Line, column and text are in the details."""
        guest = self.open_agent(tmp_path, ATTACKS["abort"][0])
        with pytest.raises(SandboxError) as aborted:
            guest.call(b"x")
        assert aborted.value.details == {"line": 3, "column": 9, "text": "no"}

    def test_an_abort_without_text_is_still_an_abort(self, tmp_path: Path) -> None:
        """A text pointer of 0 is not followed."""
        body = "(call $abort (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1)) (i64.const 0)"
        imports = '(import "env" "abort" (func $abort (param i32 i32 i32 i32)))'
        guest = self.open_agent(tmp_path, agent(body, imports=imports))
        assert self.reason_of(partial(guest.call, b"x")) is Reason.GUEST_ABORT

    def test_a_trap_names_its_kind(self, tmp_path: Path) -> None:
        """The trap's code is in the details."""
        guest = self.open_agent(tmp_path, ATTACKS["deep recursion"][0])
        with pytest.raises(SandboxError) as trapped:
            guest.call(b"x")
        assert trapped.value.details["trap"] == "stack_overflow"

    def test_close_waits_and_ends(self, tmp_path: Path) -> None:
        """A closed guest is dead; closing twice is allowed."""
        guest = self.open_agent(tmp_path, AGENTS["echo"])
        guest.close()
        guest.close()
        assert self.reason_of(partial(guest.call, b"x")) is Reason.INSTANCE_DEAD

    def test_two_calls_at_once_are_refused(self, tmp_path: Path) -> None:
        """The second call on a busy guest gets host_error at once, the first is not harmed."""
        guest = self.open_agent(
            tmp_path, ATTACKS["infinite loop"][0], Limits(fuel=10**12, wall_ms=300)
        )
        reasons: list[Reason] = []
        ready = threading.Barrier(2)

        def call() -> None:
            ready.wait()
            reasons.append(self.reason_of(partial(guest.call, b"x")))

        with ThreadPoolExecutor(2) as pool:
            for _ in range(2):
                pool.submit(call)
        assert sorted(reasons) == sorted([Reason.HOST_ERROR, Reason.TIMEOUT])

    def test_errors_never_cross_threads(self, tmp_path: Path) -> None:
        """Many failing calls in parallel each get their own reason."""
        engine = WasmtimeEngine()
        names = ["abort", "unreachable", "log from outside", "host call flood"] * 25
        limits = Limits(fuel=1_000_000, wall_ms=60_000)
        opened = [
            (name, engine.open_agent(self.artifact(engine, tmp_path, ATTACKS[name][0]), limits))
            for name in names
        ]

        def call(item: tuple[str, object]) -> bool:
            name, guest = item
            return self.reason_of(partial(guest.call, b"x")) is ATTACKS[name][1]  # type: ignore[attr-defined]  # an AgentInstance

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(call, opened))

    def test_text_and_unwanted_features_do_not_compile(self) -> None:
        """memory64, threads, many memories, exceptions, gc, tail calls and SIMD are off."""
        for text in (
            "(module (memory i64 1))",
            "(module (memory 1 1 shared))",
            "(module (memory 1) (memory 1))",
            "(module (tag))",
            "(module (type (struct)))",
            "(module (func $f (return_call $f)))",
            '(module (func (export "f") (param v128)))',
        ):
            with pytest.raises(SandboxError) as refused:
                WasmtimeEngine().compile(wat(text))
            assert refused.value.reason is Reason.COMPILE_FAILED, text

    def test_a_damaged_artifact_is_named(self, tmp_path: Path) -> None:
        """What does not load is a host_error of stage load."""
        path = tmp_path / "x.artifact"
        path.write_bytes(b"no native code")
        for use in (
            partial(WasmtimeEngine().open_agent, path, Limits()),
            partial(WasmtimeEngine().open_agent, tmp_path / "missing", Limits()),
        ):
            with pytest.raises(SandboxError) as refused:
                use()
            assert refused.value.details["stage"] == "load"

    def test_each_stack_size_holds(self, tmp_path: Path) -> None:
        """A deeper stack allows a deeper recursion."""
        body = "(i64.extend_i32_u (call $down (i32.load (i32.const 1024))))"
        extra = (
            "(func $down (param i32) (result i32) (if (result i32) (local.get 0)"
            " (then (i32.add (call $down (i32.sub (local.get 0) (i32.const 1))) (i32.const 0)))"
            " (else (i32.const 0))))"
        )
        deep = (8_000).to_bytes(4, "little")
        text = agent(body, extra=extra)
        small = self.open_agent(tmp_path, text, Limits(stack_bytes=64 * 1024))
        assert self.reason_of(partial(small.call, deep)) is Reason.TRAP
        assert self.open_agent(tmp_path, text, Limits(stack_bytes=1 << 20)).call(deep).data == b""

    def test_a_failing_host_function_is_a_host_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An exception in our own code ends the call, under its own reason."""
        guest = self.open_agent(tmp_path, AGENTS["dice"])
        monkeypatch.setattr("sandbox.host.os.urandom", lambda _n: 1 / 0)
        assert self.reason_of(partial(guest.call, b"x")) is Reason.HOST_ERROR

    def test_standard_input_over_its_limit_is_refused(self, tmp_path: Path) -> None:
        """A command sees all of its input or is not started."""
        engine = WasmtimeEngine()
        run = partial(
            engine.run_command,
            self.artifact(engine, tmp_path, COMMANDS["cat"]),
            stdin=b"four",
            limits=Limits(message_bytes=3),
            grants=Grants(),
        )
        assert self.reason_of(run) is Reason.MESSAGE_TOO_LARGE

    def test_modules_leave_the_engine_in_turn(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Only so many modules stay loaded; a dropped one loads again."""
        monkeypatch.setattr("sandbox.wasmtime_engine.platform.LOADED_MODULES", 2)
        engine = WasmtimeEngine()
        texts = [agent(reply("(i32.const 8)", f"(i32.const {n})")) for n in range(5)]
        for _ in range(2):
            for n, text in enumerate(texts):
                path = self.artifact(engine, tmp_path, text)
                assert len(engine.open_agent(path, Limits()).call(b"").data) == n


def test_importing_the_package_does_not_load_the_engine() -> None:
    """wasmtime is loaded when a guest runs, not when ``sandbox`` is imported."""
    code = "import sandbox, sys; sys.exit('wasmtime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_clock_thread_is_left_when_idle() -> None:
    """The ticker ends itself after the last call, and starts again."""
    ticked = threading.Event()
    ticker = Ticker(ticked.set, linger_s=0.0)
    for _ in range(2):
        ticked.clear()
        with ticker.running():
            assert ticked.wait(5)
            assert ticker.alive
        deadline = threading.Event()
        for _ in range(500):
            if not ticker.alive:
                break
            deadline.wait(0.01)
        assert not ticker.alive


def test_what_the_clock_is_late_with_is_not_taken_from_a_call_that_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The epochs of a thread that was not run for a second pass before the call's own count."""
    awake, all_passed = threading.Event(), threading.Event()
    now, passed = [100.0], []

    def tick() -> None:
        passed.append(now[0])
        if len(passed) == 220:
            all_passed.set()

    monkeypatch.setattr("sandbox.ticker.time.sleep", lambda _seconds: awake.wait(30))
    ticker = Ticker(tick, linger_s=0.0, clock=lambda: now[0])
    with ticker.running():
        now[0] += 1.0
        with ticker.running():
            # What is counted from here on belongs to the call.
            assert len(passed) == 200
            now[0] += 0.102
            awake.set()
            assert all_passed.wait(5)
            assert len(passed) == 220


class TestGuestThreads:
    """Threads with large stacks."""

    def test_results_and_errors_come_back(self) -> None:
        """A job's result or exception is its future's."""
        threads = GuestThreads(2)
        assert threads.submit(lambda: 5).result(5) == 5
        boom: Callable[[], float] = lambda: 1 / 0  # noqa: E731 - a job
        with pytest.raises(ZeroDivisionError):
            threads.submit(boom).result(5)
        threads.close()
        threads.close()
        with pytest.raises(RuntimeError):
            threads.submit(lambda: 5)

    def test_a_cancelled_job_is_not_run(self) -> None:
        """What was cancelled while queued never starts."""
        threads = GuestThreads(1)
        gate, ran = threading.Event(), threading.Event()
        threads.submit(gate.wait)
        late = threads.submit(ran.set)
        assert late.cancel()
        gate.set()
        threads.close()
        assert not ran.is_set()

    async def test_a_loop_awaits_results_and_errors(self) -> None:
        """Without a future in between; the thread that rested last does the next job."""
        threads = GuestThreads(4)
        try:
            assert await threads.call(divmod, 7, 3) == (2, 1)
            with pytest.raises(ZeroDivisionError):
                await threads.call(divmod, 1, 0)
            names = {await threads.call(threading.current_thread) for _ in range(20)}
            assert len(names) == 1
        finally:
            threads.close()

    async def test_every_thread_works_when_there_is_work_for_all(self) -> None:
        """Jobs that wait for each other end: they are on threads of their own."""
        threads = GuestThreads(4)
        together = threading.Barrier(4)
        try:
            calls = [threads.call(together.wait, 10) for _ in range(8)]
            assert sorted(await asyncio.gather(*calls)) == [0, 0, 1, 1, 2, 2, 3, 3]
        finally:
            threads.close()

    async def test_what_is_queued_is_done_before_the_end(self) -> None:
        """In the order it came, also when closing begins first."""
        threads = GuestThreads(1)
        gate, order = threading.Event(), list[int]()
        calls = [threads.call(gate.wait, 10)]
        calls += [threads.call(order.append, n) for n in range(50)]
        gone = threads.call(order.append, 99)
        gone.cancel()
        gate.set()
        await asyncio.to_thread(threads.close)
        await asyncio.gather(*calls)
        assert order == list(range(50))
        with pytest.raises(RuntimeError):
            threads.call(gate.wait)


@pytest.mark.parametrize(
    ("field", "value"),
    [("fuel", 0), ("fuel", True), ("memory_bytes", 1), ("wall_ms", 1.5), ("stack_bytes", 70_000)],
)
def test_limits_name_the_field_out_of_range(field: str, value: object) -> None:
    """A limit out of range names itself, its value and its range."""
    with pytest.raises(InvalidSetting) as refused:
        Limits(**{field: value})  # type: ignore[arg-type]  # wrong on purpose
    assert (refused.value.field, refused.value.value) == (field, value)
    assert refused.value.allowed
