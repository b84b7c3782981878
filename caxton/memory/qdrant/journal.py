"""Writes that touch several points, all or nothing: noted first, then done, then crossed out.

Qdrant has no transactions. What is to be done is written into one point of a collection of its
own; from then on it will be done, by this process or, after a crash, by the next one that starts.
Doing it again changes nothing.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

import msgspec
from qdrant_client import models

from caxton.errors import MemoryUnavailable
from caxton.memory.qdrant.server import NAME, SCHEMA_POINT, Server

__all__ = ["Journal", "Plan"]

HEAD: Final = 0
CHUNK: Final = 2_000_000
"""Bytes of a plan in one point: a request may have 32 MB, and JSON is not small."""
PACKER: Final = msgspec.msgpack.Encoder()


class Plan(msgspec.Struct, frozen=True):
    """What one write does, in points."""

    removed_entities: tuple[str, ...] = ()
    """Ids of entities that go, with all their relations."""
    removed_relations: tuple[str, ...] = ()
    entities: tuple[tuple[bytes, str, int], ...] = ()
    """Record as JSON, digest of the model of its vectors, and how many there are."""
    vectors: tuple[tuple[str, bytes], ...] = ()
    """Id, and all parts as float32, of the model ``model``."""
    model: str = ""
    dimension: int = 0
    bare: tuple[str, ...] = ()
    """Ids of entities that lose their vectors of all models, or of others than ``model`` where
    they are in ``vectors``."""
    relations: tuple[bytes, ...] = ()
    """Records as JSON."""


class Journal:
    """The plan that is being done, if there is one.

    Args:
        server: where it is.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pieces = 1

    async def note(self, plan: Plan) -> None:
        """Write a plan down. When this returns, it will be done."""
        data = PACKER.encode(plan)
        pieces = [data[i : i + CHUNK] for i in range(0, len(data), CHUNK)]
        self._pieces = len(pieces)
        for number, piece in enumerate(pieces[1:], HEAD + 1):
            await self._put(number, {"data": base64.b85encode(piece).decode()})
        head = {
            "pieces": len(pieces),
            "sum": hashlib.blake2s(data).hexdigest(),
            "data": base64.b85encode(pieces[0]).decode(),
        }
        await self._put(HEAD, head)

    async def noted(self) -> Plan | None:
        """The plan that was written down and not crossed out.

        Raises:
            MemoryUnavailable: it does not read.
        """
        rows = await self._rows([HEAD])
        if not rows:
            return None
        head = rows[HEAD]
        try:
            self._pieces = head["pieces"]
            others = await self._rows(list(range(HEAD + 1, HEAD + head["pieces"])))
            data = b"".join(
                base64.b85decode(row["data"])
                for row in (head, *(others[i] for i in sorted(others)))
            )
            if hashlib.blake2s(data).hexdigest() != head["sum"]:
                raise ValueError("it is not whole")
            return msgspec.msgpack.decode(data, type=Plan)
        except (KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
            raise MemoryUnavailable(
                backend=NAME,
                reason=f"the journal in the collection {self._server.journal} does not read "
                f"({error}); was it written by a later version?",
            ) from error

    async def cross_out(self) -> None:
        """The plan is done. Its head goes first, without which there is no plan."""
        await self._remove(models.PointIdsList(points=[HEAD]))
        if self._pieces > 1:
            others = models.HasIdCondition(has_id=[SCHEMA_POINT])
            await self._remove(models.FilterSelector(filter=models.Filter(must_not=[others])))

    async def _remove(self, chosen: models.PointIdsList | models.FilterSelector) -> None:
        async with self._server.asking("a write", writes=True):
            await self._server.client.delete(self._server.journal, chosen, wait=True)

    async def _put(self, number: int, payload: dict[str, Any]) -> None:
        point = models.PointStruct(id=number, vector={}, payload=payload)
        async with self._server.asking("a write", writes=True):
            await self._server.client.upsert(self._server.journal, [point], wait=True)

    async def _rows(self, numbers: list[int]) -> dict[int, dict[str, Any]]:
        if not numbers:
            return {}
        async with self._server.asking("its journal"):
            rows = await self._server.client.retrieve(self._server.journal, list(numbers))
        return {int(row.id): row.payload or {} for row in rows}
