"""The connection to Qdrant: every call bounded, its errors ours; and the collections that are used.

``NAME-entities`` has a point for each entity with its words, ``NAME-relations`` one for each
relation, ``NAME-vectors-MODEL`` the vectors of one model, ``NAME-journal`` what is being written.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from caxton.config.secret import Secret
from caxton.errors import MemoryUnavailable, StorageError
from caxton.memory.backend import ModelInfo
from caxton.memory.qdrant.points import WORDS, model_digest
from caxton.memory.remote import RemoteTarget, deadline, shown_url, without_secret

__all__ = ["NAME", "SCHEMA_POINT", "Server"]

NAME: Final = "qdrant"
PREFIX: Final = "caxton"
NO_SECRET: Final = Secret()
SCHEMA_VERSION: Final = 1
SCHEMA_POINT: Final = 2**40
"""Point of the journal's collection that says which version all of them have."""
INDEXES: Final = {
    "scope": models.PayloadSchemaType.KEYWORD,
    "entity_type": models.PayloadSchemaType.KEYWORD,
    "starts": models.PayloadSchemaType.INTEGER,
    "ends": models.PayloadSchemaType.INTEGER,
}
ENTITY_INDEXES: Final = INDEXES | {
    "model": models.PayloadSchemaType.KEYWORD,
    "seen": models.PayloadSchemaType.INTEGER,
    "parts": models.PayloadSchemaType.INTEGER,
}
RELATION_INDEXES: Final = dict.fromkeys(("scope", "from", "to"), models.PayloadSchemaType.KEYWORD)
REFUSED: Final = (401, 403)


class Server:
    """A client and the names of its collections. Belongs to one event loop.

    Args:
        connect: makes the client.
        prefix: what the names of the collections begin with.
        seconds: how long one call may take.
        shown: where it is, for errors.
        secret: what never is in an error.
        local: whether it is the client's own mode for tests, which knows no indexes.
    """

    def __init__(
        self,
        connect: Callable[[], AsyncQdrantClient],
        *,
        prefix: str = PREFIX,
        seconds: float = 30.0,
        shown: str = "local mode",
        secret: str = NO_SECRET,
        local: bool = False,
    ) -> None:
        self.seconds = seconds
        self.entities = f"{prefix}-entities"
        self.relations = f"{prefix}-relations"
        self.journal = f"{prefix}-journal"
        self.vectors: str | None = None
        """The collection of the model's vectors; None without a model."""
        self.all_vectors: list[str] = []
        """Those of all models that there are."""
        self._vectors_prefix = f"{prefix}-vectors-"
        self.local = local
        self._connect = connect
        self._shown = shown
        self._secret = secret
        self._client: AsyncQdrantClient | None = None

    @classmethod
    def at(cls, target: RemoteTarget) -> Server:
        """A server elsewhere."""
        seconds = target.timeout_ms / 1_000

        def connect() -> AsyncQdrantClient:
            return AsyncQdrantClient(
                url=target.url,
                api_key=target.secret.reveal() or None,
                timeout=math.ceil(seconds),
                # Would ask the server at once, on the loop, and warn where nobody looks.
                check_compatibility=False,
            )

        return cls(
            connect,
            prefix=target.database or PREFIX,
            seconds=seconds,
            shown=shown_url(target.url),
            secret=target.secret,
        )

    def vectors_of(self, digest: str) -> str:
        """The collection of a model's vectors."""
        return f"{self._vectors_prefix}{digest}"

    @property
    def client(self) -> AsyncQdrantClient:
        """The client.

        Raises:
            MemoryUnavailable: it is closed.
        """
        if self._client is None:
            raise MemoryUnavailable(backend=NAME, reason="it is closed")
        return self._client

    async def open(self, model: ModelInfo | None) -> None:
        """Connect; make what collections and indexes are missing.

        Raises:
            MemoryUnavailable: it does not answer, refuses the key, or is of a later version.
        """
        async with self.asking("the connection"):
            self._client = self._connect()
        there = await self._collections()
        await self._make(there, self.journal, {})
        await self._check_version()
        await self._make(there, self.entities, ENTITY_INDEXES, words=True)
        await self._make(there, self.relations, RELATION_INDEXES)
        if model is not None:
            self.vectors = self.vectors_of(model_digest(model))
            await self._make(there, self.vectors, INDEXES, dimension=model.dimension)
        self.all_vectors = sorted(
            name for name in await self._collections() if name.startswith(self._vectors_prefix)
        )

    async def close(self) -> None:
        """Close its connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def scroll(
        self,
        collection: str,
        chosen: models.Filter | None,
        page: int,
        fields: Sequence[str] | bool = True,
    ) -> AsyncIterator[list[models.Record]]:
        """All points of a filter by id, a page at a time."""
        offset: Any = None
        while True:
            async with self.asking("a page"):
                rows, offset = await self.client.scroll(
                    collection,
                    scroll_filter=chosen,
                    limit=page,
                    offset=offset,
                    with_payload=fields if isinstance(fields, bool) else list(fields),
                )
            yield rows
            if offset is None:
                return

    async def retrieve(
        self, collection: str, ids: Sequence[str], fields: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """Payloads by id of those points that are there."""
        if not ids:
            return {}
        async with self.asking("points"):
            rows = await self.client.retrieve(collection, list(ids), with_payload=list(fields))
        return {str(row.id): row.payload or {} for row in rows}

    @contextlib.asynccontextmanager
    async def asking(self, what: str, *, writes: bool = False) -> AsyncIterator[None]:
        """Bound what is inside, and turn what the client raises into our errors."""
        try:
            async with deadline(NAME, self.seconds, what, self._shown):
                yield
        except UnexpectedResponse as error:
            if error.status_code in REFUSED:
                raise self._unavailable("it refuses the key: set memory.api_key") from error
            if writes and error.status_code is not None and error.status_code < 500:
                raise StorageError(store=NAME, reason=self._said(error)) from error
            raise self._unavailable(self._said(error)) from error
        except ResponseHandlingException as error:
            raise self._unavailable(self._said(error.source)) from error
        except (ApiException, QdrantException, OSError, ValueError, RuntimeError) as error:
            raise self._unavailable(self._said(error)) from error

    def _unavailable(self, reason: str) -> MemoryUnavailable:
        return MemoryUnavailable(backend=NAME, reason=f"{self._shown}: {reason}")

    def _said(self, error: Exception) -> str:
        return without_secret(f"{type(error).__name__}: {error}", self._secret)

    async def _collections(self) -> set[str]:
        async with self.asking("its collections"):
            found = await self.client.get_collections()
        return {one.name for one in found.collections}

    async def _make(
        self,
        there: set[str],
        name: str,
        indexes: dict[str, models.PayloadSchemaType],
        *,
        words: bool = False,
        dimension: int = 0,
    ) -> None:
        if name not in there:
            # Of length 1 already, so the dot product is the cosine; the best part counts.
            vectors = models.VectorParams(
                size=dimension,
                distance=models.Distance.DOT,
                multivector_config=models.MultiVectorConfig(
                    comparator=models.MultiVectorComparator.MAX_SIM
                ),
            )
            sparse = {WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)}
            async with self.asking("a new collection"):
                await self.client.create_collection(
                    name,
                    vectors_config=vectors if dimension else {},
                    sparse_vectors_config=sparse if words else None,
                )
        if self.local:
            return
        for field, kind in indexes.items():
            async with self.asking("an index"):
                await self.client.create_payload_index(name, field, kind, wait=True)

    async def _check_version(self) -> None:
        async with self.asking("its version"):
            rows = await self.client.retrieve(self.journal, [SCHEMA_POINT])
        version = int((rows[0].payload or {}).get("version", 0)) if rows else 0
        if version > SCHEMA_VERSION:
            raise self._unavailable(f"its schema version is {version}, this is {SCHEMA_VERSION}")
        if not rows:
            async with self.asking("its version", writes=True):
                await self.client.upsert(
                    self.journal,
                    [
                        models.PointStruct(
                            id=SCHEMA_POINT, vector={}, payload={"version": SCHEMA_VERSION}
                        )
                    ],
                    wait=True,
                )
