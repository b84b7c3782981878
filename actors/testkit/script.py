"""Scripted histories of a supervisor: what fails, what ends, how time passes, who starts again.

A script runs the real supervisor on a synchronous dispatcher and a manual clock, so it needs no
event loop and takes no time. Children are stand-ins that do nothing but live, so that a real
``SupervisorSpec`` can be tried without what its actors need::

    SupervisorScript(spec).run('''
        expect   +a +b +c
        fail b
        expect   !b -c +b +c
        wait 10
        running  a b c
    ''')

Each line is a step; what follows a ``#`` is a comment. A child below a nested supervisor is named
``supervisor/child``.

- ``fail b``: its handler raises. ``exit b``: it stops itself. ``kill b``: it is killed.
- ``bad b 2``: its next two starts fail.
- ``stop b``, ``start b``: by the supervisor's ``stop_child`` and ``restart_child``.
- ``wait 1.5``: seconds pass.
- ``expect +a -b !c``: just this has happened since the last ``expect``, in this order: ``+`` a
  start, ``-`` a stop in good order, ``!`` a failure, ``?`` a start that failed. Nothing at all
  when the line ends there.
- ``running a b``: just these run, in the order of the tree. ``gave up``: the supervisor has.
"""

from __future__ import annotations

import dataclasses
import types
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from actors.actor import Actor
from actors.errors import ActorError, ChildError
from actors.future import Future
from actors.supervision.commands import SupervisorRef
from actors.supervision.spec import ChildInfo, ChildSpec, RestartType, SupervisorSpec
from actors.system import ActorSystem
from actors.testkit.clock import ManualClock
from actors.testkit.dispatcher import SyncDispatcher

__all__ = ["ScriptFailed", "ScriptedFailure", "SupervisorScript", "scripted_children"]

_EXIT: Final = object()


class ScriptFailed(AssertionError):
    """A step did not come out as the script says; the text has the history up to it."""


class ScriptedFailure(ActorError):
    """What a stand-in raises when a script lets it fail."""

    code = "scripted_failure"


class _Stage:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.bad_starts: Counter[str] = Counter()


class _StandIn(Actor):
    def __init__(self, stage: _Stage, name: str) -> None:
        super().__init__()
        self._stage = stage
        self._name = name

    def on_start(self) -> None:
        if self._stage.bad_starts[self._name] > 0:
            self._stage.bad_starts[self._name] -= 1
            self._stage.log.append(f"?{self._name}")
            raise ScriptedFailure(f"the script lets {self._name} not start")
        self._stage.log.append(f"+{self._name}")

    def on_stop(self) -> None:
        self._stage.log.append(f"-{self._name}")

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self._stage.log.append(f"!{self._name}")

    def on_receive(self, message: Any) -> None:
        if message is _EXIT:
            self.stop()
        else:
            raise message


def scripted_children(
    names: str, restart: RestartType = "permanent", **options: Any
) -> tuple[ChildSpec, ...]:
    """Children for scripts that are about a supervisor alone: one for each word of ``names``.

    Raises:
        ValueError: an option is out of its range.
    """
    return tuple(
        ChildSpec(id=name, actor=_StandIn, restart=restart, **options) for name in names.split()
    )


class SupervisorScript:
    """A supervisor with stand-ins for children, and what has happened to them. See the module.

    Back-offs have no jitter here, so that ``wait`` is exact.

    Args:
        spec: of the supervisor, with nested ones.
    """

    def __init__(self, spec: SupervisorSpec) -> None:
        self.clock = ManualClock()
        self.dispatcher = SyncDispatcher(self.clock)
        self.system = ActorSystem("script", clock=self.clock, dispatcher=self.dispatcher)
        self.history: list[str] = []
        """Every step with what came of it."""
        self._stage = _Stage()
        self._told = 0
        self.supervisor = self.system.supervise(_with_stand_ins(spec, self._stage, ""))
        self._settle()

    # --- steps ---------------------------------------------------------------------------------

    def run(self, script: str) -> None:
        """Run a script, line by line.

        Raises:
            ScriptFailed: a line did not come out.
            ValueError: a line is no step.
        """
        steps: dict[str, Callable[[Sequence[str]], None]] = {
            "fail": lambda words: self.fail(_only(words)),
            "exit": lambda words: self.exit(_only(words)),
            "kill": lambda words: self.kill(_only(words)),
            "bad": lambda words: self.bad_starts(words[0], int(words[1])),
            "stop": lambda words: self.stop_child(_only(words)),
            "start": lambda words: self.start_child(_only(words)),
            "wait": lambda words: self.wait(float(_only(words))),
            "expect": lambda words: self.expect(*words),
            "running": lambda words: self.expect_running(*words),
            "gave": lambda words: self.expect_gave_up(),
        }
        for number, line in enumerate(script.splitlines(), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            try:
                step = steps[words[0]]
                step(words[1:])
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(f"line {number}: {line.strip()!r} is no step") from error

    def fail(self, child: str, error: Exception | None = None) -> None:
        """Its handler raises ``error``, or a ``ScriptedFailure``."""
        self._step(f"fail {child}")
        self._ref(child).tell(error or ScriptedFailure(f"the script lets {child} fail"))
        self._settle()

    def exit(self, child: str) -> None:
        """It stops itself, in good order."""
        self._step(f"exit {child}")
        self._ref(child).tell(_EXIT)
        self._settle()

    def kill(self, child: str) -> None:
        """It is killed: no ``on_stop`` runs."""
        self._step(f"kill {child}")
        self._ref(child).actor_inbox.kill()
        self._settle()

    def bad_starts(self, child: str, count: int) -> None:
        """Its next ``count`` starts fail."""
        self._step(f"bad {child} {count}")
        self._stage.bad_starts[child] = count

    def stop_child(self, child: str) -> None:
        """``SupervisorRef.stop_child``."""
        self._step(f"stop {child}")
        above, name = self._above(child)
        self._answer(above.stop_child(name))

    def start_child(self, child: str) -> None:
        """``SupervisorRef.restart_child``."""
        self._step(f"start {child}")
        above, name = self._above(child)
        self._answer(above.restart_child(name))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._step(f"wait {seconds:g}")
        self.dispatcher.advance(seconds)

    # --- what must have come of them -------------------------------------------------------------

    def happened(self) -> list[str]:
        """What has happened since the last look."""
        self._note()
        new, self._told = self._stage.log[self._told :], len(self._stage.log)
        return new

    def expect(self, *happenings: str) -> None:
        """Just these have happened since the last look, in this order.

        Raises:
            ScriptFailed: something else has.
        """
        new = self.happened()
        if new != list(happenings):
            self._failed("expect", happenings, new)

    def expect_running(self, *children: str) -> None:
        """Just these run, in the order of the tree.

        Raises:
            ScriptFailed: others do.
        """
        self._note()
        running = [name for name, info in self._all() if _runs(info)]
        if running != list(children):
            self._failed("running", children, running)

    def expect_gave_up(self) -> None:
        """The supervisor gave up: its children failed more often than it allows.

        Raises:
            ScriptFailed: it lives.
        """
        self._note()
        if self.supervisor.is_alive():
            self._failed("gave up", ("gave up",), ["it supervises"])

    # --- inside ----------------------------------------------------------------------------------

    def _settle(self) -> None:
        # Timers that are due now belong to what happens now.
        self.dispatcher.advance(0)

    def _step(self, text: str) -> None:
        self._note()
        self.history.append(text)

    def _note(self) -> None:
        noted = sum(len(line.split()) for line in self.history if line.startswith("  "))
        if new := self._stage.log[noted:]:
            self.history.append("  " + " ".join(new))

    def _failed(self, step: str, meant: Sequence[str], came: Sequence[str]) -> None:
        history = "\n".join(self.history)
        raise ScriptFailed(
            f"{step}: {' '.join(meant) or 'nothing'} was meant, {' '.join(came) or 'nothing'} came "
            f"at {self.clock.now():g} s. History:\n{history}"
        )

    def _answer(self, future: Future[Any]) -> Any:
        self._settle()
        try:
            return future.get(timeout=0)
        except ChildError as error:
            raise ScriptFailed(f"{error}. History:\n" + "\n".join(self.history)) from error

    def _all(
        self, above: SupervisorRef | None = None, path: str = ""
    ) -> list[tuple[str, ChildInfo]]:
        above = above or self.supervisor
        if not above.is_alive():
            return []
        found = []
        for info in cast("list[ChildInfo]", self._answer(above.children())):
            if info.kind == "supervisor":
                if info.ref is not None:
                    found += self._all(_below(info), f"{path}{info.id}/")
            else:
                found.append((f"{path}{info.id}", info))
        return found

    def _above(self, child: str) -> tuple[SupervisorRef, str]:
        above = self.supervisor
        *supervisors, name = child.split("/")
        for one in supervisors:
            for info in cast("list[ChildInfo]", self._answer(above.children())):
                if info.id == one and info.ref is not None:
                    above = _below(info)
                    break
            else:
                self._failed("child", (child,), [f"no supervisor {one}"])
        return above, name

    def _ref(self, child: str) -> Any:
        for name, info in self._all():
            if name == child and _runs(info):
                return info.ref
        raise ScriptFailed(f"{child} does not run. History:\n" + "\n".join(self.history))


def _only(words: Sequence[str]) -> str:
    (word,) = words
    return word


def _runs(info: ChildInfo) -> bool:
    return info.ref is not None and info.state in ("idle", "ready", "running")


def _below(info: ChildInfo) -> SupervisorRef:
    started = Future[None]()
    started.set(None)
    return SupervisorRef(info.ref, started)


def _with_stand_ins(spec: SupervisorSpec, stage: _Stage, path: str) -> SupervisorSpec:
    children = []
    for child in spec.children:
        name = f"{path}{child.id}"
        changes: dict[str, Any] = {"dispatcher": None, "random_factor": 0.0, "kwargs": {}}
        if child.actor.supervises:
            below = child.args[0] if child.args else child.kwargs["spec"]
            changes["args"] = (_with_stand_ins(below, stage, f"{name}/"),)
        else:
            changes |= {"actor": _StandIn, "args": (stage, name)}
        children.append(dataclasses.replace(child, **changes))
    return dataclasses.replace(spec, children=children)
