"""The texts that wait for their vectors, in two lanes, and who waits for them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from caxton.errors import EmbeddingUnavailable, QueueFull
from caxton.memory.backend import Vectors
from caxton.memory.embedding.engine import EngineFailed
from caxton.memory.embedding.engine_thread import Outcome

__all__ = ["Call", "Limits", "WaitingText", "WaitingTexts"]


class Limits(msgspec.Struct, frozen=True):
    """What an embedder may hold, and for how long."""

    texts: int = 2_048
    """That wait: 1 to 1,000,000."""
    characters: int = 16 * 1024 * 1024
    """Of all texts that wait."""
    wait_seconds: float = 120.0
    """In which the engine must get some batch done, or who waits is told that it does not."""
    batch_tokens: int = 256
    """Tokens of a batch. What is urgent waits for the batch that runs: longer ones are not much
    faster a text, and keep it waiting."""
    urgent_texts: int = 4
    """Calls of up to so many texts go before larger ones."""
    round_texts: int = 16
    """Urgent texts that are worked on at a time, of all callers,"""
    round_characters: int = 4_096
    """and their characters, beside the first."""
    urgent_in_a_row: int = 16
    """Rounds of urgent texts after which the others get one batch."""
    part_texts: int = 256
    """Texts of a call that wait at a time; the others of it come after them."""


class WaitingText:
    """A text that waits, or whose vector is being made, for all who asked for it."""

    __slots__ = ("calls", "key", "lane", "running", "text")

    def __init__(self, key: bytes, text: str) -> None:
        self.key = key
        self.text = text
        self.calls: list[Call] = []
        self.lane: OrderedDict[bytes, WaitingText] | None = None
        self.running = False


class Call:
    """What one caller waits for.

    Args:
        out: where its vectors go.
    """

    __slots__ = ("future", "out", "places")

    def __init__(self, out: Vectors) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.out = out
        self.places: dict[bytes, list[int]] = {}
        """Key of each text that it waits for, to its places in ``out``."""

    def settle(self, key: bytes, outcome: Outcome, failure: Callable[[str], Exception]) -> None:
        """Take what became of one text."""
        places = self.places.pop(key, None)
        if places is None or self.future.done():
            return
        if isinstance(outcome, EngineFailed):
            self.future.set_exception(failure(str(outcome)))
            return
        self.out[places] = outcome
        if not self.places:
            self.future.set_result(None)


class WaitingTexts:
    """The lanes.

    Args:
        limits: how many may wait.
        model: its name, for errors.
    """

    def __init__(self, limits: Limits, model: str) -> None:
        self._limits = limits
        self._model = model
        self._known: dict[bytes, WaitingText] = {}
        self._urgent: OrderedDict[bytes, WaitingText] = OrderedDict()
        self._others: OrderedDict[bytes, WaitingText] = OrderedDict()
        self.characters = 0
        self.dropped = 0
        """Texts whose callers went away before their turn."""

    def __len__(self) -> int:
        """Texts that wait or are being worked on."""
        return len(self._known)

    @property
    def urgent(self) -> int:
        """Texts in the urgent lane."""
        return len(self._urgent)

    @property
    def others(self) -> int:
        """Texts in the other lane."""
        return len(self._others)

    def add(self, call: Call, texts: dict[bytes, str], *, urgent: bool) -> None:
        """Have ``call`` wait for ``texts``; one that waits already waits once for both.

        Raises:
            QueueFull: there is no room for all of them; none was taken.
        """
        new = {key: text for key, text in texts.items() if key not in self._known}
        for what, depth, more, limit in (
            ("texts to embed", len(self._known), len(new), self._limits.texts),
            (
                "characters to embed",
                self.characters,
                sum(map(len, new.values())),
                self._limits.characters,
            ),
        ):
            # A call alone always has room, or it never would.
            if depth and depth + more > limit:
                raise QueueFull(queue=f"the line of {what}", depth=depth, limit=limit)
        lane = self._urgent if urgent else self._others
        for key, text in texts.items():
            waiting = self._known.get(key)
            if waiting is None:
                waiting = self._known[key] = WaitingText(key, text)
                self.characters += len(text)
                waiting.lane = lane
                lane[key] = waiting
            elif urgent and waiting.lane is self._others:
                del self._others[key]
                waiting.lane = lane
                lane[key] = waiting
            waiting.calls.append(call)

    def take(self, count: int, *, urgent: bool) -> list[WaitingText]:
        """The next of a lane, at most ``count``, which wait in it no longer."""
        lane = self._urgent if urgent else self._others
        taken: list[WaitingText] = []
        room = self._limits.round_characters
        while lane and len(taken) < count:
            waiting = next(iter(lane.values()))
            room -= len(waiting.text)
            if urgent and taken and room < 0:
                break
            lane.popitem(last=False)
            waiting.lane = None
            taken.append(waiting)
        return taken

    def start(self, batch: Sequence[WaitingText]) -> list[WaitingText]:
        """Those of a batch that somebody still waits for; they are worked on from now on."""
        wanted = [waiting for waiting in batch if waiting.calls]
        for waiting in wanted:
            waiting.running = True
        return wanted

    def finish(self, waiting: WaitingText, outcome: Outcome) -> None:
        """Tell all who wait for a text what became of it."""
        self._forget(waiting)
        for call in waiting.calls:
            call.settle(waiting.key, outcome, self.failure)
        waiting.calls = []

    def leave(self, call: Call) -> None:
        """Its caller is gone: what nobody else waits for is dropped."""
        for key in call.places:
            waiting = self._known.get(key)
            if waiting is None or call not in waiting.calls:
                continue
            waiting.calls.remove(call)
            if not waiting.calls and not waiting.running:
                self._forget(waiting)
                self.dropped += 1
        call.places = {}
        if call.future.done() and not call.future.cancelled():
            call.future.exception()

    def fail_all(self, reason: str) -> None:
        """Nothing that waits gets a vector any more."""
        for waiting in list(self._known.values()):
            self.finish(waiting, EngineFailed(reason))

    def failure(self, reason: str) -> EmbeddingUnavailable:
        """The error for a caller."""
        return EmbeddingUnavailable(model=self._model, reason=reason)

    def _forget(self, waiting: WaitingText) -> None:
        if self._known.get(waiting.key) is waiting:
            del self._known[waiting.key]
            self.characters -= len(waiting.text)
        if waiting.lane is not None:
            del waiting.lane[waiting.key]
            waiting.lane = None
