"""Caxton's memory and its peers, each run alone in a process by ``perf/memory.py``.

``python perf/memory_engines.py ENGINE --data FOLDER --store FOLDER`` prints what it measured. The
interpreter needs the engine; its own durability is named, not changed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(one for one in sys.path if one != str(HERE)), str(HERE)]

from memory_data import DIMENSION, SHARES, Data, K, load

BATCH = 1_000
ADDS = 200


class Engine(Protocol):
    """What is asked of each."""

    durability: ClassVar[str]
    """What an add that returned survives, as far as its documentation says."""

    def open(self, folder: Path) -> None:
        """Open or make the store, so that it answers at once."""

    def load(self, vectors: Any, scopes: list[str]) -> None:
        """Load everything; the id of a vector is its place."""

    def query(self, vector: Any, scope: str | None) -> list[int]:
        """The ids of the nearest 10, of all or of one scope."""

    def add(self, place: int, vector: Any, scope: str) -> None:
        """Add one."""

    def close(self) -> None:
        """End it."""


class Caxton:
    """``EmbeddedBackend``, asked for vectors only, with the bookkeeping of entities in it."""

    durability = "power loss (fdatasync)"

    def open(self, folder: Path) -> None:
        from caxton.memory.backend import ModelInfo
        from caxton.memory.embedded.backend import EmbeddedBackend

        self._loop = asyncio.new_event_loop()
        self._backend = EmbeddedBackend(folder, map_bytes=1 << 36, disk=True)
        model = ModelInfo("made", DIMENSION, "0" * 64)
        self._loop.run_until_complete(self._backend.start(model))

    def _entity(self, place: int, vector: Any, scope: str) -> Any:
        from caxton.memory.backend import PutEntity
        from caxton.memory.model import Entity, Observation, Scope

        entity = Entity(
            Scope.of_agent(scope),
            f"entity {place}",
            "thing",
            (Observation(f"what is known of the {place}th", 0),),
        )
        return PutEntity(entity, vector.reshape(1, -1))

    def load(self, vectors: Any, scopes: list[str]) -> None:
        for start in range(0, len(scopes), BATCH):
            chunk = vectors[start : start + BATCH]
            changes = [
                self._entity(start + at, vector, scopes[start + at])
                for at, vector in enumerate(chunk)
            ]
            self._loop.run_until_complete(self._backend.write(changes))

    def query(self, vector: Any, scope: str | None) -> list[int]:
        from caxton.memory.backend import CandidateQuery, Selection
        from caxton.memory.model import Scope

        selection = Selection(scopes=None if scope is None else (Scope.of_agent(scope),))
        asked = CandidateQuery(selection, K, vector=vector.reshape(1, -1))
        found = self._loop.run_until_complete(self._backend.candidates(asked))
        found.sort(key=lambda one: -(one.similarity or 0.0))
        return [int(one.entity.entity_name.split()[1]) for one in found[:K]]

    def add(self, place: int, vector: Any, scope: str) -> None:
        change = self._entity(place, vector, scope)
        self._loop.run_until_complete(self._backend.write([change]))

    def close(self) -> None:
        self._loop.run_until_complete(self._backend.close())
        self._loop.close()


class Chroma:
    """A persistent client with its defaults."""

    durability = "its default (SQLite WAL)"

    def open(self, folder: Path) -> None:
        import chromadb
        from chromadb.config import Settings

        client = chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
        self._collection = client.get_or_create_collection(
            "memory", metadata={"hnsw:space": "cosine"}
        )

    def load(self, vectors: Any, scopes: list[str]) -> None:
        for start in range(0, len(scopes), BATCH):
            ids = range(start, min(start + BATCH, len(scopes)))
            self._collection.add(
                ids=[str(one) for one in ids],
                embeddings=vectors[start : start + BATCH],
                documents=[f"what is known of the {one}th" for one in ids],
                metadatas=[{"scope": scopes[one]} for one in ids],
            )

    def query(self, vector: Any, scope: str | None) -> list[int]:
        where = None if scope is None else {"scope": scope}
        found = self._collection.query(query_embeddings=[vector], n_results=K, where=where)
        return [int(one) for one in found["ids"][0]]

    def add(self, place: int, vector: Any, scope: str) -> None:
        self._collection.add(
            ids=[str(place)], embeddings=[vector], documents=["one more"],
            metadatas=[{"scope": scope}],
        )  # fmt: skip

    def close(self) -> None:
        del self._collection


class LanceDB:
    """A table without an index: exact, as ours."""

    durability = "its default (new files, no fsync found)"

    def open(self, folder: Path) -> None:
        import lancedb

        self._db = lancedb.connect(str(folder))
        names = self._db.table_names()
        self._table = self._db.open_table("memory") if "memory" in names else None

    def _rows(self, first: int, vectors: Any, scopes: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {"id": first + at, "vector": vector, "scope": scope, "text": "what is known of it"}
            for at, (vector, scope) in enumerate(zip(vectors, scopes, strict=True))
        ]

    def load(self, vectors: Any, scopes: list[str]) -> None:
        part = 10 * BATCH
        for start in range(0, len(scopes), part):
            rows = self._rows(start, vectors[start : start + part], scopes[start : start + part])
            if self._table is None:
                self._table = self._db.create_table("memory", rows)
            else:
                self._table.add(rows)
        self._table.optimize()

    def query(self, vector: Any, scope: str | None) -> list[int]:
        asked = self._table.search(vector).metric("cosine").limit(K).select(["id", "_distance"])
        if scope is not None:
            asked = asked.where(f"scope = '{scope}'", prefilter=True)
        return [int(row["id"]) for row in asked.to_list()]

    def add(self, place: int, vector: Any, scope: str) -> None:
        self._table.add(self._rows(place, [vector], [scope]))

    def close(self) -> None:
        self._table = self._db = None


class SqliteVec:
    """A ``vec0`` table with the scope as partition key, on apsw."""

    durability = "power loss (SQLite, WAL, synchronous=FULL)"

    def open(self, folder: Path) -> None:
        import apsw
        import sqlite_vec

        folder.mkdir(parents=True, exist_ok=True)
        self._db = apsw.Connection(str(folder / "memory.db"))
        self._db.enable_load_extension(True)
        self._db.load_extension(sqlite_vec.loadable_path())
        self._db.execute("pragma journal_mode=wal; pragma synchronous=full")
        self._db.execute(
            "create virtual table if not exists memory using vec0(id integer primary key, "
            f"scope text partition key, vector float[{DIMENSION}] distance_metric=cosine, "
            "+text text)"
        )

    def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        with self._db:
            self._db.executemany(
                "insert into memory(id, scope, vector, text) values (?, ?, ?, ?)", rows
            )

    def load(self, vectors: Any, scopes: list[str]) -> None:
        for start in range(0, len(scopes), BATCH):
            ids = range(start, min(start + BATCH, len(scopes)))
            self._insert([(n, scopes[n], vectors[n].tobytes(), "what is known") for n in ids])

    def query(self, vector: Any, scope: str | None) -> list[int]:
        where, values = "", [vector.tobytes(), K]
        if scope is not None:
            where = " and scope = ?"
            values.append(scope)
        found = self._db.execute(
            f"select id from memory where vector match ? and k = ?{where}", values
        )
        return [int(row[0]) for row in found]

    def add(self, place: int, vector: Any, scope: str) -> None:
        self._insert([(place, scope, vector.tobytes(), "one more")])

    def close(self) -> None:
        self._db.close()


class QdrantEdge:
    """Qdrant's engine in this process, optimised after the load."""

    durability = "its default (not documented)"

    def open(self, folder: Path) -> None:
        import qdrant_edge as edge

        self._edge = edge
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            self._shard = edge.EdgeShard.load(str(folder), None)
            return
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=DIMENSION, distance=edge.Distance.Cosine)
        )
        self._shard = edge.EdgeShard.create(str(folder), config)
        self._shard.update(
            edge.UpdateOperation.create_field_index("scope", edge.PayloadSchemaType.Keyword)
        )

    def _put(self, first: int, vectors: Any, scopes: Sequence[str]) -> None:
        points = [
            self._edge.Point(
                id=first + at, vector=vector.tolist(), payload={"scope": scope, "text": "known"}
            )
            for at, (vector, scope) in enumerate(zip(vectors, scopes, strict=True))
        ]
        self._shard.update(self._edge.UpdateOperation.upsert_points(points))

    def load(self, vectors: Any, scopes: list[str]) -> None:
        for start in range(0, len(scopes), BATCH):
            self._put(start, vectors[start : start + BATCH], scopes[start : start + BATCH])
        self._shard.flush()
        self._shard.optimize()

    def query(self, vector: Any, scope: str | None) -> list[int]:
        edge = self._edge
        chosen = None
        if scope is not None:
            match = edge.FieldCondition(key="scope", match=edge.MatchValue(value=scope))
            chosen = edge.Filter(must=[match])
        asked = edge.QueryRequest(query=edge.Query.Nearest(vector.tolist()), limit=K, filter=chosen)
        return [int(one.id) for one in self._shard.query(asked)]

    def add(self, place: int, vector: Any, scope: str) -> None:
        self._put(place, [vector], [scope])

    def close(self) -> None:
        self._shard.close()


ENGINES: dict[str, tuple[Callable[[], Engine], tuple[str, ...]]] = {
    "caxton": (Caxton, ()),
    "chroma": (Chroma, ("chromadb",)),
    "lancedb": (LanceDB, ("lancedb",)),
    "sqlite-vec": (SqliteVec, ("sqlite-vec", "apsw")),
    "qdrant-edge": (QdrantEdge, ("qdrant-edge-py",)),
}
"""Each with the packages it needs."""


def anonymous_mb() -> float:
    """Memory of this process that is no file's, in MB: what cannot be read again from a disk."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    line = next(one for one in rollup.splitlines() if one.startswith("Anonymous:"))
    return int(line.split()[1]) * 1_024 / 1e6


def disk_mb(folder: Path) -> float:
    """What lies in a folder, in MB of blocks."""
    return sum(one.stat().st_blocks * 512 for one in folder.rglob("*") if one.is_file()) / 1e6


def measure(engine: Engine, data: Data, store: Path) -> dict[str, Any]:
    """Load, search, add, close and open again."""
    found: dict[str, Any] = {"durability": engine.durability}
    engine.open(store)
    started = time.perf_counter()
    engine.load(data.vectors, data.scopes)
    found["load_per_s"] = len(data.scopes) / (time.perf_counter() - started)
    gc.collect()
    searches: dict[str, Any] = {}
    for scope in (None, *SHARES):
        answers, seconds = [], []
        for vector in data.queries[:5]:
            engine.query(vector, scope)
        for vector in data.queries:
            started = time.perf_counter()
            answer = engine.query(vector, scope)
            seconds.append(time.perf_counter() - started)
            answers.append(answer)
        searches[scope or "all"] = {"ms": [one * 1e3 for one in seconds], "ids": answers}
    found["searches"] = searches
    seconds = []
    for at in range(ADDS):
        vector = data.queries[at % len(data.queries)]
        started = time.perf_counter()
        engine.add(len(data.scopes) + at, vector, "rest")
        seconds.append((time.perf_counter() - started) * 1e3)
    found["add_ms"] = seconds
    found["anonymous_mb"] = anonymous_mb()
    engine.close()
    found["disk_mb"] = disk_mb(store)
    return found


def reopen(engine: Engine, data: Data, store: Path) -> dict[str, Any]:
    """Seconds until a store that is there has answered, in a process that is new."""
    started = time.perf_counter()
    engine.open(store)
    engine.query(data.queries[0], None)
    took = time.perf_counter() - started
    engine.close()
    return {"open_s": took}


def main() -> int:
    """Measure one engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--reopen", action="store_true")
    given = parser.parse_args()
    engine = ENGINES[given.engine][0]()
    run = reopen if given.reopen else measure
    print("RESULT " + json.dumps(run(engine, load(given.data), given.store)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
