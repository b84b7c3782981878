"""Many changes of one operation come to the same bytes, or the same error, as one after another."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caxton.errors import StorageCorrupt
from caxton.memory.backend import (
    Change,
    DeleteEntity,
    DeleteRelation,
    ModelInfo,
    PutEntity,
    PutRelation,
)
from caxton.memory.embedded import put_entities, put_relations
from caxton.memory.embedded.store import Changed, Store
from caxton.memory.embedded.tokens import text_terms
from caxton.memory.model import (
    WORKSPACE,
    Entity,
    EntityKey,
    Observation,
    Relation,
    RelationKey,
    Scope,
)

DIMENSION = 3
NAMES = ("Ann", "ANN", "bob", "Straße", "strasse", "y" * 600, "two words", " two  WORDS ", "\ud800")
names = st.sampled_from(NAMES + NAMES[:3] * 3)
scopes = st.sampled_from((WORKSPACE,) * 6 + (Scope.of_agent("ann"),))
versions = st.sampled_from((1, 1, 1, 1, 2, 2, 3))
restored = st.sampled_from((False, True, True))
times = st.sampled_from((None, None, None, 0, 7))
metadata = st.sampled_from(({}, {}, {}, {"a": 1}))
texts = st.sampled_from(
    ("the harbour at dawn", "7 boats", "", "l'été à Zürich", "Boats' 7 nets", "x")
)
seen = st.lists(
    st.builds(Observation, texts, st.integers(0, 2), st.sampled_from(("", "", "m1"))), max_size=3
).map(tuple)
vectors = st.none() | st.integers(0, 2).map(
    lambda parts: np.arange(1, 1 + parts * DIMENSION, dtype=np.float32).reshape(parts, DIMENSION)
)
entities = st.builds(
    Entity, scopes, names, st.sampled_from(("thing", "place")), seen, metadata, times, times,
    st.sampled_from((0.5, 0.5, 0.25)), st.integers(0, 2), st.integers(0, 2), versions,
)  # fmt: skip
relations = st.builds(
    Relation, scopes, names, names, st.sampled_from(("knows", "likes")),
    confidence=st.sampled_from((1.0, 0.5)), metadata=metadata, valid_from_ms=times,
    version=versions,
)  # fmt: skip
puts = st.builds(PutEntity, entities, vectors, restored)
relates = st.builds(PutRelation, relations, restored)
changes = st.one_of(
    st.lists(puts, min_size=4, max_size=10),
    st.lists(puts | relates, min_size=4, max_size=10),
    st.lists(
        st.one_of(
            puts,
            relates,
            st.builds(DeleteEntity, st.builds(EntityKey.of, scopes, names)),
            st.builds(
                DeleteRelation,
                st.builds(RelationKey.of, scopes, names, st.sampled_from(("knows",)), names),
            ),
        ),
        max_size=12,
    ),
)


class Kept:
    """A store, and what its observer was told last of each entity."""

    def __init__(self, folder: Path) -> None:
        self.told: dict[int, Changed] = {}
        self.store = Store(
            folder, map_bytes=1 << 28, words=text_terms, observer=self.observe, sync=False
        )
        self.store.use_model(ModelInfo("stub", DIMENSION, "00"))

    def observe(self, _: int, changed: list[Changed]) -> None:
        for one in changed:
            before = self.told.get(one.eid)
            if one.vectors is None and one.parts and before is not None:
                one = msgspec.structs.replace(one, vectors=before.vectors)
            self.told[one.eid] = one

    def write(self, some: list[Change]) -> Exception | None:
        (outcome,) = self.store.commit([some])
        assert outcome is None or isinstance(outcome, Exception)
        return outcome

    def rows(self) -> dict[str, list[tuple[bytes, bytes]]]:
        """All there is, but for how many operations it was written with."""
        with self.store.reader.moment() as moment:
            found = {
                name: list(moment.txn.cursor(table))
                for name, table in moment.tables.items()
                if name not in ("changed", "meta")
            }
            head = msgspec.structs.replace(moment.head(), seq=0)
            found["meta"] = [(b"head", msgspec.msgpack.encode(head))]
        return found

    def known(self) -> dict[int, Any]:
        """What was told, in a form that compares."""
        return {
            eid: (
                msgspec.structs.astuple(msgspec.structs.replace(one, vectors=None)),
                None if one.vectors is None else one.vectors.tolist(),
            )
            for eid, one in self.told.items()
        }

    def close(self) -> None:
        self.store._thread.shutdown()
        self.store._opened.close()


def said(error: Exception | None) -> str:
    """An error, in words."""
    return "" if error is None else f"{type(error).__name__}: {error}"


@settings(max_examples=150, deadline=None)
@given(st.lists(changes, min_size=1, max_size=4), st.sampled_from((0, 5, 1 << 18)))
def test_together_is_the_same_as_apart(operations: list[list[Change]], held: int) -> None:
    """The same rows, told alike; the first that does not fit is the error of all."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(put_entities, "MOST_TERMS", held)
        together, apart = Kept(Path(folder) / "together"), Kept(Path(folder) / "apart")
        try:
            for operation in operations:
                fitting: list[Change] = []
                for at, change in enumerate(operation):
                    error = apart.write([change])
                    if error is None:
                        fitting.append(change)
                    else:
                        tried = together.write([*fitting, *operation[at:]])
                        assert said(tried) == said(error)
                assert together.write(fitting) is None
                assert together.rows() == apart.rows()
                assert together.known() == apart.known()
        finally:
            together.close()
            apart.close()


def test_what_is_named_again_follows_what_was_before(tmp_path: Path) -> None:
    """Also where others come after it."""
    versions = (("a", 1), ("A", 2), ("b", 1), ("a", 3), ("c", 1), ("B", 2))
    some: list[Change] = [
        PutEntity(Entity(WORKSPACE, name, "thing", version=version)) for name, version in versions
    ]
    together, apart = Kept(tmp_path / "together"), Kept(tmp_path / "apart")
    try:
        assert together.write(some) is None
        assert [apart.write([one]) for one in some] == [None] * len(some)
        assert together.rows() == apart.rows()
        assert together.known() == apart.known()
    finally:
        together.close()
        apart.close()


def test_rows_are_appended_behind_what_is_there(tmp_path: Path) -> None:
    """A store whose next number is one that was given tells so, and writes nothing over it."""
    kept = Kept(tmp_path / "store")
    try:
        assert kept.write([PutEntity(Entity(WORKSPACE, name, "thing")) for name in "ab"]) is None
        kept.store._head.next_eid = 1
        before = kept.rows()
        error = kept.write([PutEntity(Entity(WORKSPACE, "c", "thing"))])
        assert isinstance(error, StorageCorrupt)
        assert kept.rows() == before
    finally:
        kept.close()


def test_many_relations_of_the_same_ends_are_looked_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often one is written again, its ends are found once."""
    calls: list[int] = []
    find = put_relations.rows_of

    def counted(progress: Any, table: str, keys: Any) -> dict[bytes, bytes]:
        calls.append(table == "names")
        return find(progress, table, keys)

    monkeypatch.setattr(put_relations, "rows_of", counted)
    kept = Kept(tmp_path / "store")
    try:
        assert kept.write([PutEntity(Entity(WORKSPACE, name, "thing")) for name in "ab"]) is None
        again: list[Change] = [
            PutRelation(Relation(WORKSPACE, "a", "b", "knows", version=at + 1)) for at in range(50)
        ]
        assert kept.write(again) is None
        assert sum(calls) == 1
    finally:
        kept.close()
