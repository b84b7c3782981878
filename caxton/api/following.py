"""A client's place in the node's events, over any number of connections, without any I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn

import msgspec

from caxton.api.calls import Calls
from caxton.api.exchange import Answer, Call, error_of
from caxton.errors import CaxtonError, InternalError, NodeUnreachable, Timeout
from caxton.views import Event

__all__ = ["Following"]

SILENCE_S: Final = 45.0
"""The node sends something every 15 s; after so long the connection is dead."""


class Following:
    """Where the client is, and when it comes back.

    Args:
        calls: of the client.
        after: number of the last event seen; None for all that are kept.
        types: beginnings of the wanted types.
    """

    def __init__(self, calls: Calls, after: int | None, types: Sequence[str]) -> None:
        self._calls = calls
        self._last = "" if after is None else str(after)
        self._types = ",".join(types)
        self._tries = 0
        self._deadline = 0.0

    def call(self) -> Call:
        """The request that goes on where the last one ended."""
        return Call(
            "GET",
            "/api/v1/events",
            {"types": self._types} if self._types else {},
            timeout_s=SILENCE_S,
            headers={"Accept": "text/event-stream", "Last-Event-ID": self._last}
            if self._last
            else {"Accept": "text/event-stream"},
        )

    def opened(self, status: int) -> bool:
        """Whether this status is that of a stream."""
        if status == 200:
            self._calls.reached = True
            return True
        return False

    def refused(self, answer: Answer) -> NoReturn:
        """The node gave no stream. Raises the error it told."""
        raise error_of(answer, self._calls.url)

    def take(self, kind: str, data: str, identity: str) -> Event | None:
        """The event in what arrived; None when there is none in it.

        Raises:
            InternalError: it is no event.
        """
        self._tries = 0
        if kind == "lagged" or not data:
            return None
        try:
            event = msgspec.json.decode(data, type=Event)
        except msgspec.MsgspecError as error:
            raise InternalError(reason=f"the node's event does not fit: {error}") from error
        self._last = identity
        return event

    def ended(self) -> float:
        """The node ended the stream; returns the seconds to wait before coming back.

        Raises:
            NodeUnreachable: it does so again and again, for too long.
        """
        return self.lost(NodeUnreachable(url=self._calls.url, reason="it ended the event stream"))

    def lost(self, error: CaxtonError) -> float:
        """The connection broke; returns the seconds to wait before coming back.

        Raises:
            CaxtonError: it was never there, or did not come back in time.
        """
        calls = self._calls
        if isinstance(error, Timeout):
            error = NodeUnreachable(url=calls.url, reason=error.detail)
        if self._tries == 0:
            self._deadline = calls.clock() + calls.retry_s
        pause = calls.pause_s(error, self._tries, self._deadline)
        if pause is None:
            raise error
        self._tries += 1
        return pause
