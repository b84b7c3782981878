"""The life of a cell: making instances of its actor, starting, stopping and replacing them."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from actors.behaviour.pipe import cancel_pipes
from actors.cell.turns import Turns
from actors.errors import NoLoop
from actors.future import answer
from actors.mailbox.spec import MailboxSpec
from actors.watch import Terminated, claim_end, tell_watchers, unwatch_all, watch_cell

if TYPE_CHECKING:
    from actors.actor import Actor
    from actors.cell.cell import Cell
    from actors.dispatch.dispatcher import Dispatcher
    from actors.ref import ActorRef
    from actors.system import ActorSystem

__all__ = ["Life", "Recipe", "constructing"]

pykka_logger = logging.getLogger("pykka")
"""pykka's users know its records; they are made here as pykka makes them."""

constructing: contextvars.ContextVar[Cell | None] = contextvars.ContextVar(
    "constructing", default=None
)
"""The cell whose actor is being made."""

Recipe = tuple["type[Actor]", tuple[Any, ...], dict[str, Any]]


class Life(Turns):
    """See the module."""

    __slots__ = ("number", "recipe", "registered")

    def __init__(
        self,
        system: ActorSystem,
        name: str,
        spec: MailboxSpec | None,
        dispatcher: Dispatcher,
        number: int,
    ) -> None:
        super().__init__(system, name, spec, dispatcher)
        self.number = number
        self.recipe: Recipe | None = None
        self.registered = False

    @property
    def urn(self) -> str:
        """A name unique in the world."""
        return f"{self.system.urn}{self.number:012x}"

    @property
    def state(self) -> str:
        """``starting``, ``idle``, ``ready``, ``running``, ``restarting`` or ``stopped``."""
        if self.stopped._set:
            return "stopped"
        if self.current is not None or self._busy:
            return "running"
        if self.actor is None:
            return "restarting" if self.made else "starting"
        if self.suspended:
            return "starting"
        return "ready" if self._user else "idle"

    # --- instances -----------------------------------------------------------------------------

    def make(self) -> ActorRef[Any]:
        """Make an instance of the actor; it is not started yet."""
        if self.recipe is None:
            raise RuntimeError("a cell without a recipe makes no actor")
        cls, args, kwargs = self.recipe
        token = constructing.set(self._cell())
        try:
            actor = cls(*args, **kwargs)
        finally:
            constructing.reset(token)
        ref = self.ref
        if ref is None:
            raise TypeError(f"{cls.__name__}.__init__() did not call super().__init__()")
        self.made += 1
        self.actor = actor
        return ref

    def start(self) -> Coroutine[Any, Any, None] | None:
        """Run ``on_start`` and take turns; a coroutine when ``on_start`` is one.

        Raises:
            NoLoop: it is one, and there is no loop to await it on.
        """
        actor = self.actor
        result: object = None if actor is None else actor.on_start()  # type: ignore[func-returns-value]  # it may be async
        if type(result) is CoroutineType:
            if self.dispatcher.loop is None:
                result.close()
                raise NoLoop(self.path, "on_start()")
            return self._start_later(result)
        if actor is not None and not actor.supervises:
            # A supervisor takes commands once its children run.
            self.resume()
        return None

    async def _start_later(self, hook: Coroutine[Any, Any, None]) -> None:
        await hook
        self.resume()

    def resume(self) -> None:
        """Take turns again."""
        self.suspended = False
        if self._user:
            self._wake()

    # --- the end -------------------------------------------------------------------------------

    def stop_now(self) -> None:
        """Stop in good order before the next message: a handler at work is cut off, ``on_stop``
        runs, and what is left in the mailbox is dead letters."""
        if self.stopped._set:
            return
        self._close()
        self.when_quiet(lambda: self.run_hook(self.finish("stopped")), cut_off=True)

    def _close(self) -> None:
        self.suspended = True
        self.stopped.set()
        self.system.unregister(self._cell())
        pykka_logger.debug("Stopped %s", self.ref)

    def finish(self, reason: str) -> Coroutine[Any, Any, None] | None:
        """Take no more messages, run ``on_stop``, end; a coroutine when ``on_stop`` is one."""
        if not self.stopped._set:
            self._close()
        return self.let_go(lambda: self.gone(reason))

    def let_go(self, then: Callable[[], None]) -> Coroutine[Any, Any, None] | None:
        """Run ``on_stop`` of the instance, then ``then``, whatever ``on_stop`` does."""
        actor = self.actor
        if actor is None:
            then()
            return None
        if actor.supervises:
            asked = self.current.reply_to if self.current is not None else None
            if self.current is None or asked is None:
                then_answer = then
            else:
                self.current.reply_to = None
                then_answer = self._answering(asked, then)

            def children_ended() -> None:
                self._let_go(then_answer)

            supervisor: Any = actor
            supervisor.end_children(children_ended)
            return None
        return self._let_go(then)

    def _answering(self, asked: Any, then: Callable[[], None]) -> Callable[[], None]:
        """``then``, with an answer to who asked for the stop; also when a kill comes before it."""

        def ended(_terminated: Terminated) -> None:
            answer(asked, None)

        killed = watch_cell(self._cell(), ended)

        def then_answer() -> None:
            then()
            killed.cancel()
            answer(asked, None)

        return then_answer

    def _let_go(self, then: Callable[[], None]) -> Coroutine[Any, Any, None] | None:
        actor = self.actor
        result: object = None
        try:
            if actor is not None:
                result = actor.on_stop()  # type: ignore[func-returns-value]  # it may be async
        except BaseException as error:  # noqa: BLE001 - it is stopping anyway
            self.system.log_failure(self.path, error, self.ref)
        if type(result) is CoroutineType and self.dispatcher.loop is not None:
            return self._let_go_later(result, then)
        if type(result) is CoroutineType:
            result.close()
        then()
        return None

    async def _let_go_later(
        self, hook: Coroutine[Any, Any, None], then: Callable[[], None]
    ) -> None:
        try:
            await hook
        except BaseException as error:  # noqa: BLE001 - it is stopping anyway
            self.system.log_failure(self.path, error, self.ref)
        then()

    def drop_instance(self) -> None:
        """The instance is no more, with its timers and what it piped to itself."""
        self.actor = None
        extras = self._extras
        if extras is None:
            return
        if extras.timers is not None:
            extras.timers.cancel_all()
            extras.timers = None
        if extras.idle is not None:
            extras.idle.cancel()
            extras.idle = None
        cancel_pipes(self._cell())

    def unstash(self) -> None:
        """What was put aside goes back to the front of the mailbox, in its order."""
        extras = self._extras
        if extras is not None and extras.stash:
            stash, extras.stash = extras.stash, None
            stash.reverse()
            self._fresh().extendleft(stash)

    def gone(self, reason: str) -> None:
        """It has ended for good: what is left is dead letters, and who watches is told."""
        if not claim_end(self._cell(), reason):
            return
        self.stopped.set()
        self.suspended = True
        self.system.unregister(self._cell())
        self.drop_instance()
        self.recipe = None  # who keeps the ref must not keep what is in it
        unwatch_all(self._cell())
        # Before the watchers hear of it: who takes what is left has it when it does.
        self._bury_rest(reason if reason in ("gave_up", "killed") else "stopped")
        tell_watchers(self._cell())
        self.system.ended(self._cell())
        parent = self.parent
        if parent is not None:
            parent.signal(parent.child_event, "ended", self, reason)

    def kill(self) -> None:
        """End it without its doing, from any thread: no ``on_stop``; the rest is dead letters.

        A handler that blocks its thread cannot be ended; what it does from now on counts for
        nothing.
        """
        task = self._task
        if task is not None:
            loop = task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)
        actor: Any = self.actor
        if actor is not None and actor.supervises:
            actor.kill_children()
        if not self.ended_because:
            self.system.counts.killed += 1
            self.system.events.publish("killed", self.path)
        self.gone("killed")

    def abandon(self) -> None:
        """The actor's start failed; what was told to it meanwhile is dead letters."""
        self.stopped.set()
        self.suspended = True
        self.ended_because = "failed"
        self._bury_rest("stopped")
