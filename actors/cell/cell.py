"""A cell: the part of an actor that outlives its instances.

It holds the mailbox, takes turns on a dispatcher, and knows what a failure means: by its own
restart policy, or by the word of its supervisor. A restart makes a new instance of the actor's
class with the arguments of the first; ref, mailbox and what waits in it stay.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pykka
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from actors.cell.life import Life, pykka_logger
from actors.errors import HandlerCancelled
from actors.events import DeadLetter
from actors.future import fail
from actors.mailbox.spec import MailboxSpec
from actors.supervision.directive import Directive, directive_for
from actors.supervision.restart import RestartPolicy, RestartTracker

if TYPE_CHECKING:
    from actors.dispatch.dispatcher import Dispatcher
    from actors.supervision.spec import ChildSpec
    from actors.system import ActorSystem

__all__ = ["Cell"]


class Redelivery(Envelope[Any]):
    """A message whose handler failed, on its way to the next instance."""

    __slots__ = ("times",)

    def __init__(self, message: Any, times: int) -> None:
        super().__init__(message)
        self.times = times


class Cell(Life):
    """See the module. Also the pykka inbox of its actor (``put``)."""

    __slots__ = ("policy", "restarts", "tracker")

    def __init__(
        self,
        system: ActorSystem,
        name: str,
        spec: MailboxSpec | None,
        policy: RestartPolicy | ChildSpec | None,
        dispatcher: Dispatcher,
        number: int = 0,
    ) -> None:
        super().__init__(system, name, spec, dispatcher, number)
        self.policy = policy
        self.tracker: RestartTracker | None = None
        if isinstance(policy, RestartPolicy):
            self.tracker = RestartTracker(policy)
        self.restarts = 0

    def _cell(self) -> Cell:
        return self

    # --- failure -----------------------------------------------------------------------------

    def failed(self, envelope: Envelope[Any], error: BaseException) -> None:
        """A handler raised: decide what that means for the message and for the actor."""
        cancelled = isinstance(error, asyncio.CancelledError)
        cut_off = cancelled and self._task is not None and self._task.cancelling() > 0
        if self.stopped._set or (cut_off and self.suspended):
            # Cut off by the stop or for a restart of its group, or failed on its way out.
            if self.current is envelope:
                self._bury(envelope, "stopped", "".join(traceback.format_exception(error)))
            return
        if cancelled and not cut_off:
            error = HandlerCancelled(self.path, error)
        put_aside = self.current is not envelope
        if envelope.reply_to is not None and not put_aside:
            # pykka's rule: an ask that raises fails its asker, not the actor.
            if isinstance(error, Exception):
                pykka_logger.info("Exception returned from %s to caller:", self.ref, exc_info=error)
                if not fail(envelope.reply_to, error):
                    self.system.counts.late_replies += 1
                return
            # What ends this actor must not end its asker too.
            fail(envelope.reply_to, pykka.ActorDeadError(f"{self.ref} was ended by {error!r}"))
        text = "".join(traceback.format_exception(error))
        self.system.counts.failures += 1
        self.system.log_failure(self.path, error, self.ref)
        self.system.events.publish("failed", self.path, repr(error))
        directive = directive_for(self.policy, error)
        delay = None
        if directive == "restart" and self.tracker is not None:
            delay = self.tracker.failed(self.system.clock.now())
            if delay is None:
                directive = "stop"
        if not put_aside and envelope.reply_to is None:
            self._settle(envelope, text, again=directive == "restart")
        if directive == "resume":
            self.system.counts.resumed += 1
            self.system.events.publish("resumed", self.path)
            return
        self.suspended = True
        if directive == "stop":
            self._close()
        self._on_failure(error)
        self._act(directive, delay, error)

    def _settle(self, envelope: Envelope[Any], text: str, *, again: bool) -> None:
        """The message that failed: to be handled again, or a dead letter."""
        times = envelope.times if type(envelope) is Redelivery else 0
        if again and self.policy is not None and times < self.policy.max_redeliveries:
            self._fresh().appendleft(Redelivery(envelope.message, times + 1))
            return
        self.system.dead_letters.add(DeadLetter(envelope, self.path, "failed", text))

    def _on_failure(self, error: BaseException) -> None:
        actor = self.actor
        if actor is None:
            return
        try:
            actor.on_failure(type(error), error, error.__traceback__)
        except BaseException as second:  # noqa: BLE001 - the first failure is what counts
            self.system.log_failure(self.path, second, self.ref)

    def _act(self, directive: Directive, delay: float | None, error: BaseException) -> None:
        parent = self.parent
        if directive == "stop":
            if self.tracker is not None:
                self._gave_up(error)
            else:
                self.gone("failed")
            return
        self.drop_instance()
        self.unstash()
        if parent is not None:
            if directive == "escalate":
                self.system.events.publish("escalated", self.path, repr(error))
            kind = "escalated" if directive == "escalate" else "failed"
            parent.signal(parent.child_event, kind, self, error)
        elif directive == "escalate":
            self.system.events.publish("escalated", self.path, repr(error))
            self._gave_up(error)
        else:
            self._restart_later(delay or 0.0)

    def _gave_up(self, error: BaseException) -> None:
        self.system.counts.gave_up += 1
        self.system.events.publish("gave_up", self.path, repr(error))
        self.gone("gave_up")

    def _restart_later(self, delay: float) -> None:
        self.dispatcher.call_later(delay, lambda: self.signal(self._restart))

    def _restart(self) -> None:
        """A new instance, by this cell's own policy."""
        if self.stopped._set or self.actor is not None:
            return
        try:
            self.make()
            hook = self.start()
        except BaseException as error:  # noqa: BLE001 - a constructor may raise anything
            self.start_failed(error)
            return
        if hook is None:
            self._restarted()
        else:
            self.run_hook(self._starting(hook, self._restarted))

    def _restarted(self) -> None:
        self.restarts += 1
        self.system.counts.restarts += 1
        self.system.events.publish("restarted", self.path)

    async def _starting(self, hook: Any, then: Any) -> None:
        try:
            await hook
        except BaseException as error:  # noqa: BLE001 - a hook may raise anything
            self.start_failed(error)
        else:
            then()

    def start_failed(self, error: BaseException) -> None:
        """A constructor or ``on_start`` raised: try again as after a failure, or end."""
        if self.stopped._set:
            return
        self.suspended = True
        self.drop_instance()
        self.system.log_failure(self.path, error, self.ref)
        parent = self.parent
        if parent is not None:
            parent.signal(parent.child_event, "start_failed", self, error)
            return
        delay = None
        if self.tracker is not None and directive_for(self.policy, error) == "restart":
            delay = self.tracker.failed(self.system.clock.now())
        if delay is not None:
            self._restart_later(delay)
        elif self.tracker is not None:
            self._gave_up(error)
        else:
            self.gone("failed")

    def begin(self) -> None:
        """Start the first instance, made by who started the actor: ``on_start`` in its turn."""
        try:
            hook = self.start()
        except BaseException as error:  # noqa: BLE001 - a hook may raise anything
            self.start_failed(error)
            return
        if hook is not None:
            self.run_hook(self._starting(hook, lambda: None))

    async def started_later(self, hook: Any) -> None:
        """Await the first ``on_start``; a failure is the actor's."""
        await self._starting(hook, lambda: None)

    # --- by word of the supervisor ---------------------------------------------------------------

    def revive(self, started: Callable[[Cell], object] | None = None) -> None:
        """Make an instance and start it; the supervisor is told how that went.

        ``started`` takes the good news in its place, when many are started together.
        """
        if self.stopped._set or self.actor is not None:
            return
        again = self.made > 0
        try:
            self.make()
            hook = self.start()
        except BaseException as error:  # noqa: BLE001 - a constructor may raise anything
            self.start_failed(error)
            return
        if hook is not None:
            self.run_hook(self._starting(hook, lambda: self._revived(again)))
        elif self.actor is not None and not self.actor.supervises:
            self._revived(again, started)

    def _revived(self, again: bool, started: Callable[[Cell], object] | None = None) -> None:
        if again:
            self._restarted()
        elif self.system.events.heard:
            self.system.events.publish("started", self.path)
        if started is not None:
            started(self)
        else:
            self.parent.signal(self.parent.child_event, "started", self, None)

    def halt(self, *, cut_off: bool = False) -> None:
        """Let the instance go after the message in handling; mailbox and ref stay."""
        if self.stopped._set:
            return
        self.suspended = True
        self.when_quiet(lambda: self.run_hook(self.let_go(self._halted)), cut_off=cut_off)

    def _halted(self) -> None:
        self.drop_instance()
        self.unstash()
        if self.parent is not None:
            self.parent.signal(self.parent.child_event, "halted", self, None)

    def stop_in_turn(self) -> Any:
        """A stop came through the mailbox.

        OTP's rule: a permanent child that ends by itself is restarted all the same; its ref
        stays. Who wants it to end tells the supervisor.
        """
        parent = self.parent
        if parent is None or parent.lets_go(self):
            return self.finish("stopped")
        self.suspended = True
        return self.let_go(self._left)

    def _left(self) -> None:
        self.drop_instance()
        self.unstash()
        self.parent.signal(self.parent.child_event, "left", self, None)

    def end(self) -> None:
        """Stop for good after what is in the mailbox."""
        actor = self.actor
        if actor is None or actor.supervises:
            self.run_hook(self.finish("stopped"))
        else:
            self.put_exempt(Envelope(_ActorStop()))

    # --- as a supervisor's cell ------------------------------------------------------------------

    def supervisor_started(self) -> None:
        """The supervisor's first children run."""
        if self.parent is not None:
            self._revived(self.made > 1)
        else:
            self.system.events.publish("started", self.path)

    def give_up(self, error: BaseException) -> None:
        """The supervisor has stopped its children and fails: its own supervisor decides, by its
        child's directives if they name this failure."""
        self.system.counts.gave_up += 1
        self.system.events.publish("gave_up", self.path, str(error))
        parent = self.parent
        directive = directive_for(self.policy, error)
        if parent is None or directive == "stop":
            self.gone("gave_up")
            return
        self.suspended = True
        self.drop_instance()
        kind = "escalated" if directive == "escalate" else "failed"
        parent.signal(parent.child_event, kind, self, error)

    def lets_go(self, child: Cell) -> bool:
        """Whether a child that stops itself has ended for good."""
        actor: Any = self.actor
        return actor is None or actor.lets_go(child)

    def child_event(self, kind: str, child: Cell, detail: Any) -> None:
        """Something happened to a child; done in this cell's turn."""
        actor: Any = self.actor
        if actor is not None:
            actor.child_event(kind, child, detail)

    def children_started(self, children: list[Cell]) -> None:
        """Many children have started; done in this cell's turn."""
        for child in children:
            self.child_event("started", child, None)
