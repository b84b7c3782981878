"""Long answers in pages: a scan waits between two pages, or begins again after a restart."""

from __future__ import annotations

import base64
import binascii
import contextlib
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final, Generic, TypeVar

import msgspec

from caxton.errors import ValidationError

__all__ = ["Pages"]

T = TypeVar("T")

OPEN: Final = 16
"""Most scans that wait for their next page; the one asked for longest ago is closed first."""
IDLE_S: Final = 120.0
BYTES: Final = 8 * 1024 * 1024
"""Of the items of a page, but for a first one that is larger: a message between processes holds 48
MiB, and what it says in JSON is larger than here."""
_ROOM: Final = 4_000


class _Token(msgspec.Struct, array_like=True, frozen=True):
    """Where a page begins."""

    of: str
    """Which request it is of."""
    after: list[str]
    """Names the last item of the page before."""
    scan: str
    """The scan that waits there."""


class _Scan(Generic[T]):
    """A scan that can be given back the item that it gave last."""

    def __init__(self, items: AsyncIterator[T]) -> None:
        self._items = items
        self._back: list[T] = []

    def back(self, item: T) -> None:
        self._back.append(item)

    def __aiter__(self) -> _Scan[T]:
        return self

    async def __anext__(self) -> T:
        return self._back.pop() if self._back else await anext(self._items)

    async def close(self) -> None:
        if isinstance(self._items, AsyncGenerator):
            # One that is being read right now ends with who reads it.
            with contextlib.suppress(RuntimeError):
                await self._items.aclose()


class Pages(Generic[T]):
    """Pages of one kind.

    Args:
        name: names an item, alike in every process.
        size: bytes that an item takes on its way.
        clock: seconds.
    """

    def __init__(
        self,
        name: Callable[[T], list[str]],
        size: Callable[[T], int],
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._size = size
        self._clock = clock
        self._open: OrderedDict[str, tuple[str, float, _Scan[T]]] = OrderedDict()

    async def page(
        self, of: str, token: str, limit: int, begin: Callable[[], AsyncIterator[T]]
    ) -> tuple[list[T], str]:
        """The next items, and the token of the page after them; empty at the end. A page has fewer
        than ``limit`` where they would be more than 8 MiB.

        Args:
            of: what is asked for. A token of another request is refused.
            token: of the page before; empty for the first.
            limit: most items.
            begin: scans all items.

        Raises:
            ValidationError: the token is none of this request, or its place is gone.
        """
        await self._end_idle()
        scan = await self._resume(of, token, begin) if token else _Scan(begin())
        items: list[T] = []
        kept, room = False, BYTES
        try:
            async for item in scan:
                room -= self._size(item)
                if room < 0 and items:
                    scan.back(item)
                    kept = True
                    break
                items.append(item)
                if len(items) == limit:
                    kept = True
                    break
        finally:
            if not kept:
                await scan.close()
        if not kept:
            return items, ""
        key = secrets.token_hex(8)
        name = self._name(items[-1])
        self._open[key] = (_encode(_Token(of, name, "")), self._clock(), scan)
        while len(self._open) > OPEN:
            _, (_, _, oldest) = self._open.popitem(last=False)
            await oldest.close()
        return items, _encode(_Token(of, name, key))

    async def _resume(self, of: str, token: str, begin: Callable[[], AsyncIterator[T]]) -> _Scan[T]:
        given = _decode(token)
        if given is None or given.of != of:
            raise ValidationError(
                field="page_token", value=token, allowed="the token of the page before, unchanged"
            )
        place, _, scan = self._open.pop(given.scan, ("", 0.0, None))
        if scan is not None:
            if place == _encode(_Token(of, given.after, "")):
                return scan
            await scan.close()
        scan = _Scan(begin())
        async for item in scan:
            if self._name(item) == given.after:
                return scan
        await scan.close()
        raise ValidationError(
            field="page_token",
            value=token,
            allowed="a token whose place is still there; begin again",
        )

    async def _end_idle(self) -> None:
        now = self._clock()
        for key, (_, since, scan) in list(self._open.items()):
            if now - since > IDLE_S:
                del self._open[key]
                await scan.close()

    async def close(self) -> None:
        """End all scans."""
        while self._open:
            _, (_, _, scan) = self._open.popitem()
            await scan.close()


def _encode(token: _Token) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(token)).decode().rstrip("=")


def _decode(token: str) -> _Token | None:
    if len(token) > _ROOM:
        return None
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        return msgspec.msgpack.decode(raw, type=_Token)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None
