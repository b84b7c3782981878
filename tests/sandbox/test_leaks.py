"""Nothing leaks: descriptors, threads and memory before and after 10,000 calls.

The same calls in a smaller number come first, so that what is made once is there. Memory may grow
by what allocators keep; a leak of a guest's instance, file or frame would be many times as much.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox import Limits, Reason, Sandbox, SandboxError
from sandbox.module import content_hash
from sandbox.testing import AGENTS, ATTACKS, COMMAND_ATTACKS, COMMANDS, wat
from sandbox.wasmtime_engine import WasmtimeEngine

pytestmark = [pytest.mark.process, pytest.mark.repeats]

MIB = 1024 * 1024
ROOM = 8 * MIB
"""What resident memory may grow by, in bytes: 0.8 kB a call of 10,000."""

DATA = bytes(200)


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    descriptors: int
    threads: int
    resident: int

    @classmethod
    def by(cls, pid: int | str = "self") -> Held:
        """Now."""
        gc.collect()
        folder = Path(f"/proc/{pid}")
        pages = int((folder / "statm").read_text().split()[1])
        return cls(
            len(os.listdir(folder / "fd")),
            len(os.listdir(folder / "task")),
            pages * os.sysconf("SC_PAGE_SIZE"),
        )

    def grew_from(self, before: Held) -> str:
        """What there is more of, or nothing."""
        grown = self.resident - before.resident
        return " ".join(
            text
            for more, text in (
                (self.descriptors > before.descriptors, f"descriptors {before} {self}"),
                (self.threads > before.threads + 1, f"threads {before} {self}"),
                (grown > ROOM, f"memory {grown} bytes"),
            )
            if more
        )


def measured(work: Callable[[int], None], calls: int) -> str:
    """What ``calls`` calls left behind, after a tenth as many went before."""
    for number in range(calls // 10):
        work(number)
    before = Held.by()
    for number in range(calls):
        work(number)
    return Held.by().grew_from(before)


class Guests:
    """An engine and its artifacts, in this process."""

    def __init__(self, folder: Path) -> None:
        self.engine = WasmtimeEngine()
        self._folder = folder

    def artifact(self, text: str) -> Path:
        """The compiled form of a guest."""
        data = wat(text)
        path = self._folder / content_hash(data)
        if not path.exists():
            path.write_bytes(self.engine.compile(data).code)
        return path


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Guests:
    """One engine for all."""
    return Guests(tmp_path_factory.mktemp("leaks"))


def reason(work: Callable[[], object]) -> Reason | None:
    """The reason with which it ended, or None."""
    try:
        work()
    except SandboxError as error:
        return error.reason
    return None


def test_warm_calls_leave_nothing(guests: Guests) -> None:
    """10,000 messages to one agent that logs and sends."""
    guest = guests.engine.open_agent(guests.artifact(AGENTS["chatty"]), Limits())

    def call(_number: int) -> None:
        assert guest.call(DATA).sent == (DATA,)

    assert measured(call, 10_000) == ""
    guest.close()


def test_fresh_instances_leave_nothing(guests: Guests) -> None:
    """10,000 agents opened, called and closed, or simply forgotten."""
    artifact = guests.artifact(AGENTS["echo"])

    def call(number: int) -> None:
        guest = guests.engine.open_agent(artifact, Limits())
        assert guest.call(DATA).data == DATA
        if number % 2:
            guest.close()

    assert measured(call, 10_000) == ""


def test_traps_and_other_ends_leave_nothing(guests: Guests) -> None:
    """10,000 agents that are stopped, each for its reason."""
    names = ["unreachable", "abort", "log from outside", "random beyond its limit",
             "deep recursion", "infinite loop"]  # fmt: skip
    limits = Limits(fuel=50_000, stack_bytes=64 * 1024, wall_ms=60_000)
    attacks = [(guests.artifact(ATTACKS[name][0]), ATTACKS[name][1]) for name in names]

    def call(number: int) -> None:
        artifact, expected = attacks[number % len(attacks)]
        guest = guests.engine.open_agent(artifact, limits)
        assert reason(lambda: guest.call(DATA)) in {expected, Reason.OUT_OF_FUEL}

    assert measured(call, 10_000) == ""


def test_refused_modules_leave_nothing(guests: Guests) -> None:
    """10,000 damaged modules through the compiler's own entry."""
    whole = wat(AGENTS["chatty"])

    def call(number: int) -> None:
        cut = whole[: 8 + number % (len(whole) - 8)]
        assert reason(lambda: guests.engine.compile(cut)) in {None, Reason.COMPILE_FAILED}

    assert measured(call, 10_000) == ""


async def left_in_worker(box: Sandbox, call: Callable[[int], Awaitable[None]], calls: int) -> str:
    """What ``calls`` calls left behind in the one worker and here."""
    for number in range(calls // 10):
        await call(number)
    (pid,) = box.pids
    before = Held.by(), Held.by(pid)
    for number in range(calls):
        await call(number)
    assert box.pids == (pid,)
    return Held.by().grew_from(before[0]) + Held.by(pid).grew_from(before[1])


async def test_a_sandbox_and_its_worker_keep_nothing_of_their_calls(cache_dir: Path) -> None:
    """10,000 calls: messages inline, commands in a worker, commands that are stopped there."""
    async with Sandbox(cache_dir, workers=1) as box:
        echo = await (await box.load(wat(AGENTS["echo"]))).open()
        cat = await box.prepare(wat(COMMANDS["cat"]))
        loop = await box.prepare(wat(COMMAND_ATTACKS["infinite loop"][0]))
        limits = Limits.for_command(fuel=100_000)
        await box.start()

        async def call(number: int) -> None:
            if number % 10:
                assert await echo.call(DATA) == DATA
                return
            if number % 50:
                assert (await box.run_command(cat, DATA, limits)).stdout == DATA
                return
            with pytest.raises(SandboxError) as stopped:
                await box.run_command(loop, DATA, limits)
            assert stopped.value.reason is Reason.OUT_OF_FUEL

        assert await left_in_worker(box, call, 10_000) == ""
        threads = threading.active_count()
    assert threading.active_count() < threads
