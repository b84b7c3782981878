"""The writer of the memory's store: operations that come together share one flushed commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from caxton.memory.backend import Change, ModelInfo, Selection
from caxton.memory.embedded.reader import Reader

__all__ = ["Changed", "Observer", "Store", "Words"]


class Changed(msgspec.Struct, frozen=True):
    """What a commit made of one entity. Saying it twice changes nothing more."""

    eid: int
    """Its number in the store; never given to another one, also after it is removed."""
    scope: int
    """Number of its scope; see ``Reader.scope_ids``."""
    type: int
    """Number of its type; see ``Reader.type_ids``."""
    deleted: bool = False
    parts: int = 0
    """How many vectors of the current model it has now."""
    vectors: NDArray[np.float16] | None = None
    """``[parts, dimension]`` where this write gave them; None where it left them as they are."""
    terms: bytes = b""
    """Numbers of the terms of its text in their order, uint32 little-endian."""
    valid_from: int = 0
    """In ms since 1970; ``layout.ALWAYS_FROM`` for None."""
    valid_to: int = 0
    """In ms since 1970, not included; ``layout.ALWAYS_TO`` for None."""


Words: TypeAlias = Callable[[str], list[str]]
"""The terms of a text, in order, as the keyword index counts them."""
Observer: TypeAlias = Callable[[int, list[Changed]], None]
"""Told of each commit that changed entities: the last sequence number, and what changed.

On the writer's thread, in the order of commits, after the flush and before the writes are
acknowledged. It must not raise.
"""


class Store:
    """The store of the memory, opened for writing. One for each folder, on one event loop.

    Args:
        path: folder of the LMDB environment.
        map_bytes: largest size.
        words: makes the terms of a text; called on the writer's thread.
        observer: told what each commit changed.
        sync: flush each commit to the disk.

    Raises:
        StorageError: it does not open.
    """

    def __init__(
        self,
        path: Path,
        *,
        map_bytes: int,
        words: Words,
        observer: Observer | None = None,
        sync: bool = True,
    ) -> None:
        raise NotImplementedError

    reader: Reader
    """Reads the same environment; from any thread of this process."""

    def use_model(self, model: ModelInfo | None) -> int:
        """Vectors written from now on are of ``model``; its number, 0 for None."""
        raise NotImplementedError

    def commit(self, operations: Sequence[Sequence[Change] | Selection]) -> list[object]:
        """Write operations in one flushed transaction; called on the writer's thread.

        Returns: for each operation None, the counts of a ``Selection`` that was cleared, or the
        error for which it alone was not written.

        Raises:
            StorageError: nothing was written.
        """
        raise NotImplementedError

    async def write(self, changes: Sequence[Change]) -> None:
        """Write all of ``changes``, or nothing; kept when this returns. See ``MemoryBackend``.

        Raises:
            EntityNotFound, RelationNotFound, EntityConflict, ValidationError, StorageError,
            QueueFull: as there; nothing was written.
        """
        raise NotImplementedError

    async def clear(self, selection: Selection) -> tuple[int, int]:
        """Remove the entities of a selection, and their relations; the numbers of both."""
        raise NotImplementedError

    async def trim(self, seq: int) -> None:
        """Forget the changes up to and including ``seq``; a snapshot holds them."""
        raise NotImplementedError

    async def compact(self) -> tuple[int, int]:
        """Give free pages back to the disk; bytes of the file before and after."""
        raise NotImplementedError

    async def close(self) -> None:
        """Write what waits, then close it."""
        raise NotImplementedError
