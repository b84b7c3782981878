"""Shared by the models of mailboxes and trees: messages, an actor that does what they say, and what
must have become of each at the end."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import pykka
from actors_support import Boom

from actors import Actor, AskTimeout, MailboxFull, StashFull, Terminated
from actors.future import Future

FAILING = {"boom": Boom, "resume": LookupError, "halt": ArithmeticError, "escalate": OSError}
"""What messages of these kinds raise."""
DIRECTIVES: dict[type[Exception], Any] = {
    LookupError: "resume",
    ArithmeticError: "stop",
    OSError: "escalate",
}
LIMIT_S = 1.5
"""Of asks that have one."""


class Message(NamedTuple):
    """Unique by sender and number."""

    sender: int
    number: int
    kind: str
    to: str = ""


def lane_of(message: Any) -> int:
    """Each third message is urgent."""
    return 0 if isinstance(message, Message) and message.number % 3 == 0 else 1


class Subject(Actor):
    """Writes down each handling, then does what the message says.

    A ``stash`` message is put aside until an ``open`` one has come.
    """

    def __init__(self, handled: list[Message], told: list[Terminated] | None = None) -> None:
        super().__init__()
        self.handled = handled
        self.told = told
        self.open = False

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Terminated):
            if self.told is not None:
                self.told.append(message)
            return None
        if message.kind == "stash" and not self.open:
            self.stash()
            return None
        self.handled.append(message)
        if message.kind in FAILING:
            raise FAILING[message.kind](message)
        if message.kind == "exit":
            raise SystemExit
        if message.kind == "quit":
            self.stop()
        elif message.kind == "open":
            self.open = True
            self.unstash_all()
        return message


class Ledger:
    """What was sent, and what became of it."""

    def __init__(self) -> None:
        self.handled: list[Message] = []
        self.spilled: list[Message] = []
        self.left_over: list[Message] = []
        self.told: list[Message] = []
        self.asked: dict[Message, tuple[Future[Any], bool]] = {}
        """The future, and whether it had a deadline."""
        self.numbers = Counter[int]()

    def message(self, sender: int, kind: str, to: str = "") -> Message:
        """The next message of a sender."""
        self.numbers[sender] += 1
        return Message(sender, self.numbers[sender], kind, to)

    def tell(self, ref: Any, message: Message) -> None:
        """Tell, and remember what was taken."""
        try:
            ref.tell(message)
        except pykka.ActorDeadError:
            assert not ref.is_alive()
        else:
            self.told.append(message)

    def ask(self, ref: Any, message: Message, limited: bool) -> None:
        """Ask, and remember the future."""
        timeout = LIMIT_S if limited else None
        self.asked[message] = (ref.ask(message, block=False, timeout=timeout), limited)

    def check_now(self, dead: list[Message], redeliveries: int, directed: bool) -> None:
        """What holds at any moment; ``directed`` when only a ``boom`` restarts."""
        letters = Counter(dead)
        assert all(count == 1 for count in letters.values()), "a message died twice"
        for message, times in Counter(self.handled).items():
            restarts = message.kind == "boom" or (message.kind in FAILING and not directed)
            again = redeliveries if restarts and message not in self.asked else 0
            assert times <= 1 + again, "a message was handled again, unasked"
            if message.kind not in FAILING and message.kind != "exit":
                assert message not in letters, "a message was handled and died"
        order: dict[Any, int] = {}
        for message in self.handled:
            key = (message.sender, message.to, lane_of(message), message.kind == "stash")
            assert order.get(key, 0) <= message.number, "a message overtook another"
            order[key] = message.number

    def check_end(self, dead_list: list[Message]) -> int:
        """What holds when every actor has ended; returns the asks that expired."""
        handled, dead = set(self.handled), set(dead_list)
        spilled, left_over = set(self.spilled), set(self.left_over)
        lost = dead | spilled | left_over
        assert len(dead) + len(spilled) + len(left_over) == len(lost), "two ends of one message"
        assert len(self.spilled) == len(spilled)
        assert len(self.left_over) == len(left_over)
        for message in self.told:
            done = message in handled and message.kind not in FAILING and message.kind != "exit"
            assert done + (message in lost) == 1, f"{message} vanished"
        assert lost <= {*self.told, *self.asked}
        expired = 0
        for message, (future, limited) in self.asked.items():
            settled = self._settled(future)
            if isinstance(settled, AskTimeout):
                expired += 1
                assert limited
                assert message not in handled
            elif isinstance(settled, pykka.ActorDeadError):
                assert message not in handled or message.kind == "exit"
            elif isinstance(settled, pykka.Timeout):
                assert message in spilled | left_over, f"{message} was never answered"
                assert not limited
            elif isinstance(settled, MailboxFull):
                assert message in dead
                assert message not in handled
            elif isinstance(settled, StashFull):
                assert message.kind == "stash"
                assert message not in handled
            elif isinstance(settled, Exception):
                assert type(settled) is FAILING[message.kind]
                assert message in handled
                assert message not in lost
            else:
                assert settled == message
                assert message in handled
                assert message not in lost
        return expired

    @staticmethod
    def _settled(future: Future[Any]) -> Any:
        try:
            return future.get(timeout=0)
        except Exception as error:  # noqa: BLE001 - an answer like any other
            return error
