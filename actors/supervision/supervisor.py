"""``Supervisor``: an actor that starts, restarts and stops its children by OTP's rules.

Its turns run on the system's internal dispatcher, so that no user code can keep it from its work;
its children run where they belong and are told what to do by signals. What takes several steps
(starting in order, stopping in reverse order, restarting a group) is a procedure.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from actors.actor import Actor
from actors.ask import ReplyTo
from actors.errors import ActorError, ChildError, SupervisorFailed
from actors.future import Future, fail
from actors.supervision.commands import (
    Children,
    Count,
    DeleteChild,
    RestartChild,
    StartChildren,
    StartCopies,
    StopChild,
)
from actors.supervision.listing import count_of, info_of
from actors.supervision.procedure import (
    ENDED,
    STARTED,
    Child,
    Procedure,
    Procedures,
    Wait,
    Waiter,
    ended_in_order,
    halted,
    launch_all,
    once,
)
from actors.supervision.restart import Budget
from actors.supervision.spec import ChildSpec, SupervisorSpec

if TYPE_CHECKING:
    from actors.cell import Cell

__all__ = ["Supervisor"]

logger = logging.getLogger("actors")

_DOWN = frozenset({"failed", "start_failed", "left", "escalated"})
"""What a cell tells whose instance is gone while it stays."""


class Supervisor(Actor):
    """See the module. Made by ``ActorSystem.supervise`` or as a child of another.

    Args:
        spec: strategy, intensity and the children to start with.
        started: set when the first start is done.
    """

    supervises: ClassVar[bool] = True

    def __init__(self, spec: SupervisorSpec, started: Future[None] | None = None) -> None:
        super().__init__()
        self.spec = spec
        self._first_start = started
        self._children: dict[str, Child] = {}
        self._budget = Budget(spec.intensity, spec.period_s)
        self._stopping = False
        self._killed = False
        self._procedures = Procedures(self._cell)
        self._batches = 0

    @property
    def _cell(self) -> Cell:
        return self._its_cell

    def _abort(self) -> None:
        """Nothing but the end matters any more."""
        self._procedures.abort()
        for child in self._children.values():
            child.cancel()
            self._let_down(child)

    def _let_down(self, child: Child, why: str = "stopping") -> None:
        """Who waits for this child to start waits in vain."""
        waiter, child.waiter = child.waiter, None
        if waiter is not None:
            waiter.fail(ChildError(self._cell.path, child.id, why))

    # --- start -----------------------------------------------------------------------------------

    def on_start(self) -> None:
        """OTP: the children start one after the other; one that fails undoes those before it."""
        self._procedures.run(self._start_all())

    def _start_all(self) -> Procedure:
        for spec in self.spec.children:
            self._batches += 1
            child = self._add(spec, self._batches, spec.id)
            self._launch(child)
            wait = Wait([child], STARTED)
            yield wait
            kind, detail = wait.results[child]
            if kind != "started":
                cause = detail if isinstance(detail, BaseException) else None
                error = ChildError(self._cell.path, spec.id, "start_failed", repr(detail))
                error.__cause__ = cause
                self._stopping = True
                yield from ended_in_order(list(self._children.values()))
                self._start_failed(error)
                return
        self._cell.resume()
        if self._first_start is not None:
            self._first_start.set(None)
        self._cell.supervisor_started()

    def _start_failed(self, error: ActorError) -> None:
        if self._first_start is not None:
            fail(self._first_start, error)
        self._cell.start_failed(error)

    def _add(self, spec: ChildSpec, batch: int, child_id: str) -> Child:
        child = self._children[child_id] = Child(spec, batch, child_id)
        return child

    def _launch(self, child: Child) -> None:
        child.launch(self._cell)
        if self._killed:
            # By another thread, which may not have seen this child's new cell.
            self.kill_children()

    def _forget(self, child: Child) -> None:
        if self._children.get(child.id) is child:
            del self._children[child.id]

    # --- what children tell ----------------------------------------------------------------------

    def child_event(self, kind: str, cell: Cell, detail: Any) -> None:
        """A signal of a child, in this actor's own turn."""
        child = self._children.get(cell.name)
        if child is None or child.cell is not cell:
            return
        if kind == "ended":
            child.cell = None
            if child.state in ("halting", "restarting") and detail != "killed":
                # It ended for good on its way down or up: nothing to start again.
                self._ended(child, detail)
                self._procedures.told(child, kind, detail)
                return
        elif child.state == "stopping":
            if kind in _DOWN:
                # There is no instance left that could stop in its turn.
                cell.signal(cell.end)
                return
        elif kind == "started":
            child.state = "running"
        elif child.state == "halting" and kind in _DOWN and kind != "escalated":
            # It goes down with its group anyway; the word of that comes next.
            return
        if self._procedures.told(child, kind, detail) or self._stopping:
            return
        if kind == "started":
            self._answer(child, cell.ref)
        elif kind == "start_failed" and child.waiter is not None:
            self._refuse(child, cell, detail)
        elif kind == "ended":
            self._ended(child, detail)
        elif kind == "escalated":
            self._give_up(f"child {child.id} escalated {detail!r}", detail)
        elif kind in ("failed", "start_failed", "left"):
            self._failed(child, detail)

    def _answer(self, child: Child, ref: Any) -> None:
        waiter, child.waiter = child.waiter, None
        if waiter is not None:
            waiter.started(ref)

    def _refuse(self, child: Child, cell: Cell, error: BaseException) -> None:
        """OTP: a child whose first start fails is not taken in; one that was down stays so."""
        waiter, child.waiter = child.waiter, None
        if child.state != "down":
            self._forget(child)
        cell.signal(cell.gone, "failed")
        if waiter is not None:
            refusal = ChildError(self._cell.path, child.id, "start_failed", repr(error))
            refusal.__cause__ = error
            waiter.fail(refusal)

    def _ended(self, child: Child, reason: str) -> None:
        """A child ended for good, by itself, by its directive or by someone's hand."""
        spec = child.spec
        if reason == "killed" and spec.restart != "temporary":
            self._failed(child, None)
            return
        child.state = "down"
        self._let_down(child, "start_failed")
        if spec.restart == "temporary":
            self._forget(child)
        # OTP: a transient child by a normal end, a temporary one by any end of its own.
        if spec.significant and (reason == "stopped" or spec.restart == "temporary"):
            self._auto_shutdown()

    def _auto_shutdown(self) -> None:
        """OTP 24: the supervisor ends with its significant children."""
        left = [
            child
            for child in self._children.values()
            if child.spec.significant and child.state != "down"
        ]
        if self.spec.auto_shutdown == "any_significant" or not left:
            self.stop()

    # --- restarts ------------------------------------------------------------------------------

    def _failed(self, child: Child, error: Any) -> None:
        """A child is down and is to come back, alone or with others, if the budget allows."""
        child.state = "restarting"
        if self.spec.strategy != "one_for_one":
            self._procedures.run(self._restart_group(child, error))
            return
        delay = self._allowed(child, error)
        if delay is not None:
            self._restart_later(child, delay)

    def _allowed(self, child: Child, error: Any) -> float | None:
        """The delay before the restart that ``child`` needs; None when it is one too many."""
        now = self._cell.system.clock.now()
        if self._budget.take(now):
            return child.backoff().next(now)
        self._give_up(
            f"more than {self.spec.intensity} restarts within {self.spec.period_s:g} s, "
            f"the last one of {child.id}",
            error,
        )
        return None

    def _restart_later(self, child: Child, delay: float) -> None:
        def due() -> None:
            child.timer = None
            if child.state == "restarting" and not self._stopping:
                self._launch(child)

        child.cancel()
        if delay <= 0:
            due()
        else:
            child.timer = self._cell.dispatcher.call_later(delay, lambda: self._cell.signal(due))

    def _group(self, origin: Child) -> list[Child]:
        # One that starts for the first time belongs to it when it has started.
        group = [
            child for child in self._children.values() if child.state in ("running", "restarting")
        ]
        if self.spec.strategy == "rest_for_one":
            group = group[group.index(origin) :]
        return group

    def _restart_group(self, origin: Child, error: Any) -> Procedure:
        """OTP's one_for_all and rest_for_one: down in reverse order, up again in order.

        When one does not come up, that is a restart of its own, of it and its group.
        """
        failed: Child | None = origin
        while failed is not None:
            if failed.state != "restarting" or self._children.get(failed.id) is not failed:
                # Another group took it along, or it is gone.
                return
            delay = self._allowed(failed, error)
            if delay is None:
                return
            group = self._group(failed)
            yield from halted([child for child in group if child.state == "running"])
            for child in group:
                if child.spec.restart == "temporary" and child.state != "down":
                    yield from ended_in_order([child])
                    child.state = "down"
                    self._forget(child)
            group = [child for child in group if child.state != "down"]
            for child in group:
                child.state = "restarting"
            if delay > 0:
                yield Wait((), ENDED, delay)
            failed = None
            for child in group:
                if child.state != "restarting":
                    # It has ended meanwhile, or was started by command after that.
                    continue
                self._launch(child)
                wait = Wait([child], STARTED)
                yield wait
                kind, error = wait.results[child]
                if kind != "started" and child.state == "restarting":
                    failed = child
                    break

    def _give_up(self, why: str, cause: Any) -> None:
        """OTP: the children are stopped, then the supervisor fails in its turn."""
        if self._stopping:
            return
        error = SupervisorFailed(self._cell.path, why)
        if isinstance(cause, BaseException):
            error.__cause__ = cause
        logger.error("%s", error)
        self._end_children(lambda: self._cell.give_up(error))

    # --- the end -------------------------------------------------------------------------------

    def _end_children(self, then: Any) -> None:
        self._stopping = True
        self._abort()

        def procedure() -> Generator[Wait, None, None]:
            yield from ended_in_order(list(self._children.values()))
            then()

        self._procedures.run(procedure())

    def end_children(self, then: Any) -> None:
        """Stop every child in the reverse order of their start, then do ``then``."""
        if self._stopping:
            self._procedures.run(once(then))
            return
        self._end_children(then)

    def kill_children(self) -> None:
        """End every child at once. Any thread."""
        self._stopping = self._killed = True
        for child in list(self._children.values()):
            if child.cell is not None:
                child.cell.kill()
        # In its own turn: who waits for something it was about to do is told so.
        self._cell.signal(self._abort)

    def lets_go(self, cell: Cell) -> bool:
        """Whether a child that stops itself has ended for good. Any thread."""
        child = self._children.get(cell.name)
        return (
            self._stopping
            or child is None
            or child.state == "stopping"
            or child.spec.restart != "permanent"
        )

    def children(self) -> list[Child]:
        """The children in the order of their start."""
        return list(self._children.values())

    # --- commands ------------------------------------------------------------------------------

    def on_receive(self, message: Any) -> Any:
        """The commands of ``SupervisorRef``."""
        match message:
            case StartChildren(specs):
                self._start_children(specs, [spec.id for spec in specs])
            case StartCopies(template, ids):
                self._start_children(itertools.repeat(template), ids)
            case StopChild(child_id):
                self._procedures.run(self._stop_child(self._known(child_id), self.defer_reply()))
            case RestartChild(child_id):
                self._restart_child(child_id)
            case DeleteChild(child_id):
                child = self._known(child_id)
                if child.cell is not None or child.state != "down":
                    why = "restarting" if child.state == "restarting" else "running"
                    raise ChildError(self._cell.path, child_id, why, "stop it first")
                self._forget(child)
            case Children():
                return [info_of(child) for child in self._children.values()]
            case Count():
                return count_of(self._children.values())
            case _:
                return super().on_receive(message)
        return None

    def _known(self, child_id: str) -> Child:
        child = self._children.get(child_id)
        if child is None:
            raise ChildError(self._cell.path, child_id, "not_found")
        return child

    def _start_children(self, specs: Iterable[ChildSpec], ids: Iterable[str]) -> None:
        named = list(zip(ids, specs, strict=False))
        new: set[str] = set()
        for child_id, spec in named:
            there = self._children.get(child_id)
            if there is not None:
                why = "already_present" if there.cell is None else "running"
                raise ChildError(self._cell.path, child_id, why)
            if spec.significant and self.spec.auto_shutdown == "never":
                raise ValueError("significant: given, allowed only with an auto_shutdown")
            if child_id in new:
                raise ChildError(self._cell.path, child_id, "already_present", "given twice")
            new.add(child_id)
        self._refuse_when_stopping(next(iter(new), ""))
        self._batches += 1
        waiter = Waiter(self.defer_reply(), len(named))
        children = []
        for child_id, spec in named:
            child = self._add(spec, self._batches, child_id)
            child.waiter = waiter
            children.append(child)
        launch_all(self._cell, children)
        if self._killed:
            self.kill_children()

    def _refuse_when_stopping(self, child_id: str) -> None:
        if self._stopping:
            raise ChildError(self._cell.path, child_id, "stopping")

    def _restart_child(self, child_id: str) -> None:
        child = self._known(child_id)
        self._refuse_when_stopping(child_id)
        if child.state == "restarting":
            raise ChildError(self._cell.path, child_id, "restarting")
        if child.cell is not None:
            raise ChildError(self._cell.path, child_id, "running")
        child.waiter = Waiter(self.defer_reply(), 1)
        self._launch(child)

    def _stop_child(self, child: Child, reply: ReplyTo) -> Procedure:
        self._let_down(child)
        yield from ended_in_order([child])
        child.state = "down"
        if child.spec.restart == "temporary":
            self._forget(child)
        reply.reply(None)
