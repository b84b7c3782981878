# ruff: noqa: S101 - the laws are assertions
"""Guests as WebAssembly text, and the laws every engine must keep.

The guests need no toolchain: ``wat`` turns them into modules with the engine's own assembler.
``EngineLaws`` is a test class for a second engine: subclass it and give it an ``engine``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from sandbox.engine import AgentInstance, Engine
from sandbox.errors import Reason, SandboxError
from sandbox.grants import Grants
from sandbox.limits import Limits
from sandbox.module import content_hash

MIB: Final = 1024 * 1024


def wat(text: str) -> bytes:
    """A binary module from its text form."""
    from sandbox.wasmtime_engine import assemble

    return assemble(text)


def agent(body: str, *, imports: str = "", extra: str = "", pages: int = 2) -> str:
    """An agent module: ``body`` is the code of ``handle_message(p, n)``, giving an i64.

    ``alloc`` gives address 1024 for what fits the memory, else 0.
    """
    return f"""(module
      {imports}
      (memory (export "memory") {pages})
      {extra}
      (func (export "alloc") (param $n i32) (result i32)
        (select (i32.const 1024) (i32.const 0)
          (i32.lt_u (local.get $n) (i32.const {pages * 65536 - 1024}))))
      (func (export "handle_message") (param $p i32) (param $n i32) (result i64)
        {body}))"""


def command(body: str, *, imports: str = "", extra: str = "", pages: int = 2) -> str:
    """A WASI command: ``body`` is the code of ``_start``."""
    return f"""(module
      {imports}
      (memory (export "memory") {pages})
      {extra}
      (func (export "_start") {body}))"""


PACK: Final = "(i64.or (i64.shl (i64.extend_i32_u {0}) (i64.const 32)) (i64.extend_i32_u {1}))"


def reply(start: str, length: str) -> str:
    """The expression that packs a reply."""
    return PACK.format(start, length)


_ECHO: Final = reply("(local.get $p)", "(local.get $n)")
_LOG: Final = '(import "caxton" "log" (func $log (param i32 i32 i32)))'
_SEND: Final = '(import "caxton" "send" (func $send (param i32 i32) (result i32)))'
_RANDOM: Final = '(import "caxton" "random" (func $random (param i32 i32)))'
_NOW: Final = '(import "caxton" "now" (func $now (result i64)))'
_ABORT: Final = '(import "env" "abort" (func $abort (param i32 i32 i32 i32)))'
_FOREVER: Final = "(loop $again (br $again))"
_RECURSE: Final = (
    "(func $deeper (param i64) (result i64) "
    "(i64.add (call $deeper (i64.add (local.get 0) (i64.const 1))) (local.get 0)))"
)
_NOTHING: Final = "(i64.const 0)"

_ALLOC_OUTSIDE: Final = """(module (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) (i32.const -4))
  (func (export "handle_message") (param i32 i32) (result i64) (i64.const 0)))"""
_ALLOC_REFUSES: Final = _ALLOC_OUTSIDE.replace("-4", "0")

AGENTS: Final[dict[str, str]] = {
    "echo": agent(_ECHO),
    "counter": agent(
        "(i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))"
        + reply("(i32.const 8)", "(i32.const 4)")
    ),
    "chatty": agent(
        "(call $log (i32.const 2) (local.get $p) (local.get $n))"
        "(i32.store (i32.const 8) (call $send (local.get $p) (local.get $n)))"
        + reply("(i32.const 8)", "(i32.const 4)"),
        imports=_LOG + _SEND,
    ),
    "dice": agent(
        "(call $random (i32.const 16) (i32.const 8)) (i64.store (i32.const 8) (call $now))"
        + reply("(i32.const 8)", "(i32.const 16)"),
        imports=_RANDOM + _NOW,
    ),
    "initialized": agent(
        reply("(i32.const 8)", "(i32.const 4)"),
        extra='(func (export "_initialize") (i32.store (i32.const 8) (i32.const 7)))',
    ),
    "freeing": agent(
        reply("(i32.const 8)", "(i32.const 4)"),
        extra='(func (export "dealloc") (param i32 i32)'
        " (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (local.get 1))))",
    ),
    "refusing": _ALLOC_REFUSES,
}
"""Agents that behave."""

ATTACKS: Final[dict[str, tuple[str, Reason]]] = {
    "infinite loop": (agent(_FOREVER + _NOTHING), Reason.OUT_OF_FUEL),
    "deep recursion": (agent("(call $deeper (i64.const 0))", extra=_RECURSE), Reason.TRAP),
    "unreachable": (agent("(unreachable)"), Reason.TRAP),
    "division by zero": (
        agent("(i64.div_u (i64.const 1) (i64.extend_i32_u (i32.load (i32.const 0))))"),
        Reason.TRAP,
    ),
    "load outside memory": (agent("(i64.load (i32.const -8))"), Reason.TRAP),
    "reply outside memory": (
        agent(reply("(i32.const 0x7fffff00)", "(i32.const 16)")),
        Reason.BAD_POINTER,
    ),
    "reply from the end": (
        agent(reply("(i32.const -16)", "(i32.const 16)")),
        Reason.BAD_POINTER,
    ),
    "reply of 4 GiB": (agent("(i64.const -1)"), Reason.REPLY_TOO_LARGE),
    "alloc outside memory": (
        _ALLOC_OUTSIDE,
        Reason.BAD_POINTER,
    ),
    "log from outside": (
        agent("(call $log (i32.const 0) (i32.const 8) (i32.const -1))" + _NOTHING, imports=_LOG),
        Reason.BAD_POINTER,
    ),
    "send from outside": (
        agent("(drop (call $send (i32.const -1) (i32.const 8)))" + _NOTHING, imports=_SEND),
        Reason.BAD_POINTER,
    ),
    "random beyond its limit": (
        agent("(call $random (i32.const 0) (i32.const 65537))" + _NOTHING, imports=_RANDOM),
        Reason.MESSAGE_TOO_LARGE,
    ),
    "host call flood": (
        agent("(loop $again (drop (call $now)) (br $again))" + _NOTHING, imports=_NOW),
        Reason.OUT_OF_FUEL,
    ),
    "abort": (
        agent(
            "(call $abort (i32.const 20) (i32.const 0) (i32.const 3) (i32.const 9))" + _NOTHING,
            imports=_ABORT,
            extra='(data (i32.const 16) "\\04\\00\\00\\00n\\00o\\00")',
        ),
        Reason.GUEST_ABORT,
    ),
    "bulk fill": (
        agent(
            "(loop $again (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536))"
            " (br $again))" + _NOTHING
        ),
        Reason.OUT_OF_FUEL,
    ),
}
"""Agents that must be stopped, with the reason that must be given."""

OPENING_ATTACKS: Final[dict[str, tuple[str, Reason]]] = {
    "loop in start": (
        agent(_NOTHING, extra=f"(func $start {_FOREVER}) (start $start)"),
        Reason.OUT_OF_FUEL,
    ),
    "trap in _initialize": (
        agent(_NOTHING, extra='(func (export "_initialize") (unreachable))'),
        Reason.TRAP,
    ),
    "memory over its limit": (agent(_NOTHING, pages=1024), Reason.MODULE_TOO_LARGE),
    "table over its limit": (
        agent(_NOTHING, extra="(table 5000000 funcref)"),
        Reason.MODULE_TOO_LARGE,
    ),
}
"""Agents that must be stopped when they are opened."""

MEMORY_BOMB: Final = agent(
    "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))"
    "(i32.store (i32.const 8) (memory.size))" + reply("(i32.const 8)", "(i32.const 4)")
)
"""Grows until refused; replies with the pages it got."""

_WASI: Final = '(import "wasi_snapshot_preview1" '
_WRITE: Final = _WASI + '"fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
_READ: Final = _WASI + '"fd_read" (func $read (param i32 i32 i32 i32) (result i32)))'
_POLL: Final = _WASI + '"poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))'
_EXIT: Final = _WASI + '"proc_exit" (func $exit (param i32)))'
_ENV: Final = _WASI + '"environ_sizes_get" (func $env (param i32 i32) (result i32)))'
_OPEN: Final = (
    _WASI + '"path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))'
)

COMMANDS: Final[dict[str, str]] = {
    "cat": command(
        """(loop $again
          (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 4096))
          (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
          (if (i32.load (i32.const 16)) (then
            (i32.store (i32.const 4) (i32.load (i32.const 16)))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
            (br $again))))""",
        imports=_READ + _WRITE,
    ),
    "exit 3": command("(call $exit (i32.const 3))", imports=_EXIT),
    "exit 200": command("(call $exit (i32.const 200))", imports=_EXIT),
    "count env": command(
        "(drop (call $env (i32.const 64) (i32.const 68)))"
        "(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 4))"
        "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))",
        imports=_ENV + _WRITE,
    ),
    "grow": command(
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))"
        "(i32.store (i32.const 64) (memory.size))"
        "(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 4))"
        "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))",
        imports=_WRITE,
    ),
    "nap": command(
        # One relative clock subscription of 1 ms; exits with the event's type plus the errno.
        "(i64.store (i32.const 24) (i64.const 1000000)) (i32.store (i32.const 16) (i32.const 1))"
        "(call $exit (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))",
        imports=_POLL + _EXIT,
    ),
}
"""Commands that behave."""

COMMAND_ATTACKS: Final[dict[str, tuple[str, Reason]]] = {
    "infinite loop": (command(_FOREVER), Reason.OUT_OF_FUEL),
    "deep recursion": (
        command("(drop (call $deeper (i64.const 0)))", extra=_RECURSE),
        Reason.TRAP,
    ),
    "unreachable": (command("(unreachable)"), Reason.TRAP),
    "load outside memory": (command("(drop (i32.load (i32.const -4)))"), Reason.TRAP),
    "output flood": (
        command(
            "(i32.store (i32.const 4) (i32.const 65536)) (loop $again"
            " (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))"
            " (br $again))",
            imports=_WRITE,
        ),
        Reason.REPLY_TOO_LARGE,
    ),
    "sleep for an hour": (
        command(
            "(i64.store (i32.const 24) (i64.const 3600000000000))"
            "(i32.store (i32.const 16) (i32.const 1))"
            "(drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))",
            imports=_POLL,
        ),
        Reason.TIMEOUT,
    ),
    "memory over its limit": (command("(nop)", pages=8192), Reason.MODULE_TOO_LARGE),
}
"""Commands that must be stopped, with the reason that must be given."""

OPEN_FIFO: Final = command(
    # Opens "inner/pipe" in the first granted folder for reading: blocks where no limit reaches.
    "(drop (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 10) (i32.const 0)"
    " (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 128)))",
    imports=_OPEN,
    extra='(data (i32.const 64) "inner/pipe")',
)
"""Opens a FIFO in its folder; only killing its process ends it."""

REFUSED: Final[dict[str, tuple[bytes, Reason]]] = {
    "nothing": (b"", Reason.NOT_A_MODULE),
    "text format": (b"(module)", Reason.NOT_A_MODULE),
    "only magic": (b"\0asm", Reason.NOT_A_MODULE),
    "empty component": (b"\0asm\x0d\0\x01\0", Reason.MISSING_EXPORT),
    "unknown version": (b"\0asm\x02\0\0\0", Reason.NOT_A_MODULE),
    "bad section": (b"\0asm\x01\0\0\0\xff", Reason.COMPILE_FAILED),
    "bad component": (b"\0asm\x0d\0\x01\0\xff", Reason.COMPILE_FAILED),
}
"""Bytes that are no module, with the reason that must be given."""


class EngineLaws:
    """Laws of ``sandbox.engine.Engine``, as tests. Subclasses give ``make_engine``.

    ``open_agent`` and ``run`` compile the text and leave the artifact in pytest's ``tmp_path``.
    """

    make_engine: Callable[[], Engine]

    def artifact(self, engine: Engine, folder: Path, text: str) -> Path:
        """The compiled form of a guest. A file of its own: what is mapped must never change."""
        data = wat(text)
        path = folder / f"{content_hash(data)}.artifact"
        if not path.exists():
            path.write_bytes(engine.compile(data).code)
        return path

    def open_agent(self, folder: Path, text: str, limits: Limits | None = None) -> AgentInstance:
        """A live agent from its text."""
        engine = type(self).make_engine()
        return engine.open_agent(self.artifact(engine, folder, text), limits or Limits())

    def reason_of(self, work: Callable[[], object]) -> Reason:
        """The reason with which ``work`` is refused."""
        try:
            work()
        except SandboxError as error:
            return error.reason
        raise AssertionError("nothing was refused")

    def test_echo_gives_the_message_back(self, tmp_path: Path) -> None:
        """What goes in comes out, and the cost is counted."""
        guest = self.open_agent(tmp_path, AGENTS["echo"])
        for data in (b"", b"hello", bytes(range(256)) * 4):
            assert guest.call(data).data == data
        assert 0 < guest.call(b"x").fuel_used < 1000
        assert guest.call(b"x").memory_bytes == 2 * 65536

    def test_an_agent_keeps_its_memory(self, tmp_path: Path) -> None:
        """State survives from call to call."""
        guest = self.open_agent(tmp_path, AGENTS["counter"])
        assert [guest.call(b"").data[0] for _ in range(3)] == [1, 2, 3]

    def test_initializers_run_before_the_first_call(self, tmp_path: Path) -> None:
        """``_initialize`` ran when the agent is open."""
        assert self.open_agent(tmp_path, AGENTS["initialized"]).call(b"").data[0] == 7

    def test_the_reply_is_freed_with_its_length(self, tmp_path: Path) -> None:
        """``dealloc`` is called once for each reply, after it was read."""
        guest = self.open_agent(tmp_path, AGENTS["freeing"])
        assert [guest.call(b"").data[0] for _ in range(3)] == [0, 4, 8]

    def test_fuel_is_deterministic(self, tmp_path: Path) -> None:
        """The same work costs the same."""
        guest = self.open_agent(tmp_path, AGENTS["echo"])
        assert len({guest.call(b"same").fuel_used for _ in range(20)}) == 1

    def test_memory_stops_at_its_limit(self, tmp_path: Path) -> None:
        """Growing beyond the limit is refused to the guest, which goes on."""
        guest = self.open_agent(tmp_path, MEMORY_BOMB, Limits(memory_bytes=4 * MIB))
        assert int.from_bytes(guest.call(b"").data, "little") * 65536 <= 4 * MIB

    def test_attacks_end_with_their_reason(self, tmp_path: Path) -> None:
        """Every agent of the attack corpus is stopped for the right reason."""
        for name, (text, reason) in ATTACKS.items():
            guest = self.open_agent(tmp_path, text, Limits(fuel=20_000_000, wall_ms=20_000))
            assert self.reason_of(partial(guest.call, b"x")) is reason, name

    def test_attacks_while_opening_end_with_their_reason(self, tmp_path: Path) -> None:
        """Limits hold before the first instruction."""
        for name, (text, reason) in OPENING_ATTACKS.items():
            limits = Limits(fuel=20_000_000, wall_ms=20_000)
            found = self.reason_of(partial(self.open_agent, tmp_path, text, limits))
            assert found is reason, name

    def test_the_wall_clock_stops_what_fuel_does_not(self, tmp_path: Path) -> None:
        """With fuel for hours, a loop ends at its deadline."""
        guest = self.open_agent(
            tmp_path, ATTACKS["infinite loop"][0], Limits(fuel=10**12, wall_ms=30)
        )
        assert self.reason_of(lambda: guest.call(b"x")) is Reason.TIMEOUT

    def test_a_stopped_guest_is_dead(self, tmp_path: Path) -> None:
        """No second call into an instance that trapped; a reply too large is no trap."""
        for name, (text, reason) in ATTACKS.items():
            guest = self.open_agent(tmp_path, text, Limits(fuel=1_000_000, wall_ms=20_000))
            alive = reason is Reason.REPLY_TOO_LARGE
            assert self.reason_of(partial(guest.call, b"x")) is reason, name
            again = self.reason_of(partial(guest.call, b"x"))
            assert again is (reason if alive else Reason.INSTANCE_DEAD), name

    def test_commands_read_print_and_exit(self, tmp_path: Path) -> None:
        """Standard input, standard output and the exit code arrive; nothing else is there."""
        engine = type(self).make_engine()
        results = {}
        for name, text in COMMANDS.items():
            results[name] = engine.run_command(
                self.artifact(engine, tmp_path, text),
                stdin=b"some input" * 1000,
                limits=Limits.for_command(),
                grants=Grants(),
            )
        assert results["cat"].stdout == b"some input" * 1000
        assert results["exit 3"].exit_code == 3
        assert results["exit 3"].memory_bytes in (2 * 65536, 0)
        assert results["exit 200"].exit_code == 200
        assert results["count env"].stdout == bytes(4)
        assert results["nap"].exit_code == 0
        grown = int.from_bytes(results["grow"].stdout, "little") * 65536
        assert MIB < grown <= Limits.for_command().memory_bytes

    def test_command_attacks_end_with_their_reason(self, tmp_path: Path) -> None:
        """Every command of the attack corpus is stopped for the right reason."""
        engine = type(self).make_engine()
        for name, (text, reason) in COMMAND_ATTACKS.items():
            artifact = self.artifact(engine, tmp_path, text)
            wall_ms = 30 if reason is Reason.TIMEOUT else 20_000
            limits = Limits.for_command(fuel=20_000_000, wall_ms=wall_ms)
            run = partial(engine.run_command, artifact, stdin=b"", limits=limits, grants=Grants())
            found = self.reason_of(run)
            assert found is reason, name
