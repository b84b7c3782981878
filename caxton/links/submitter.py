"""The submitting side of a link to one shard: references, outcomes, and what to send again.

A submission stays here until it is acknowledged or refused. When the shard's process was replaced,
everything unanswered goes out again; the shard recognises what it had already journaled.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import msgspec

from caxton.errors import CaxtonError, error_from_code
from caxton.links.chunks import chunks
from caxton.links.wire import Acked, Refused, Submit

__all__ = ["Outcome", "Submitter"]


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """An acknowledgement, as the shard gave it."""

    disk: bool
    duplicate: bool


class _Open:
    __slots__ = ("index", "raw", "settle", "wait")

    def __init__(
        self,
        raw: bytes,
        index: int,
        settle: Callable[[int, Outcome | CaxtonError], None],
        *,
        wait: bool,
    ) -> None:
        self.raw = raw
        self.index = index
        self.settle = settle
        self.wait = wait


_KINDS = {
    (disk, duplicate): Outcome(disk, duplicate)
    for disk in (True, False)
    for duplicate in (True, False)
}


class Submitter:
    """Submits messages to one shard.

    Args:
        send: puts a sentence on the link; raises QueueFull when the link's buffer is full.
    """

    def __init__(self, send: Callable[[msgspec.Struct], None]) -> None:
        self._send = send
        # An answer to the process that this one replaces must not fit a message of ours.
        self._next = secrets.randbits(40) << 20
        self._open: dict[int, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def submit(
        self,
        raws: Sequence[bytes],
        settle: Callable[[int, Outcome | CaxtonError], None],
        *,
        wait: bool = False,
        indexes: Sequence[int] | None = None,
    ) -> None:
        """Send messages in msgpack form; ``settle(index, outcome)`` is called once for each."""
        first = self._next
        for offset, raw in enumerate(raws):
            index = offset if indexes is None else indexes[offset]
            self._open[first + offset] = _Open(raw, index, settle, wait=wait)
        self._next = first + len(raws)
        for part in chunks(raws, len):
            try:
                self._send(Submit(first, wait, [msgspec.Raw(raw) for raw in part]))
            except CaxtonError as error:
                # What did not go out is not kept to go out later: its caller is told.
                for reference in range(first, self._next):
                    self._settle(reference, error)
                return
            first += len(part)

    def _frames(self, first: int, raws: Sequence[bytes], *, wait: bool) -> None:
        for part in chunks(raws, len):
            self._send(Submit(first, wait, [msgspec.Raw(raw) for raw in part]))
            first += len(part)

    def acked(self, sentence: Acked) -> None:
        """The shard acknowledged."""
        outcome = _KINDS[sentence.disk, False]
        runs = sentence.references
        for position in range(0, len(runs), 2):
            for reference in range(runs[position], runs[position] + runs[position + 1]):
                self._settle(reference, outcome)
        for reference in sentence.duplicates:
            self._settle(reference, _KINDS[sentence.disk, True])

    def refused(self, sentence: Refused) -> None:
        """The shard refused."""
        for reference, code, fields in sentence.items:
            self._settle(reference, error_from_code(code, fields))

    def _settle(self, reference: int, outcome: Outcome | CaxtonError) -> None:
        found = self._open.pop(reference, None)
        if found is not None:
            found.settle(found.index, outcome)

    def resend(self) -> int:
        """Send everything unanswered again; returns how many messages."""
        run: list[bytes] = []
        first = 0
        wait = False
        for reference, one in list(self._open.items()):
            if run and (reference != first + len(run) or one.wait != wait):
                self._frames(first, run, wait=wait)
                run = []
            if not run:
                first, wait = reference, one.wait
            run.append(one.raw)
        if run:
            self._frames(first, run, wait=wait)
        return len(self._open)

    def abandon(self, error: CaxtonError) -> None:
        """Give up on everything unanswered."""
        for reference in list(self._open):
            self._settle(reference, error)
