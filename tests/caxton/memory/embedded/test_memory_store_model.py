"""The store does what plain dictionaries do, whatever is written in whatever order."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from plain_memory import PlainMemory

from caxton.memory.backend import (
    Change,
    DeleteEntity,
    DeleteRelation,
    GraphQuery,
    ModelInfo,
    PathQuery,
    PutEntity,
    PutRelation,
    Selection,
)
from caxton.memory.embedded.layout import ALWAYS_FROM, ALWAYS_TO
from caxton.memory.embedded.store import Changed, Store
from caxton.memory.model import (
    WORKSPACE,
    Entity,
    EntityKey,
    Observation,
    Relation,
    RelationKey,
    Scope,
    embedding_text,
)

MODEL = ModelInfo("stub", 3, "00")
SCOPES = (WORKSPACE, Scope.of_agent("Ann"))
NAMES = ("Alice", "ALICE", "Straße", "strasse", "x" * 600, "x" * 601, "二")
TYPES = ("person", "Person", "place")
scopes = st.sampled_from(SCOPES)
rarely = st.sampled_from([False] * 15 + [True])
names = st.sampled_from(NAMES)
kinds = st.sampled_from(("knows", "likes"))
moments = st.sampled_from((None, None, None, None, 0, 5, 10))
strengths = st.sampled_from((0.0, 0.25, 0.5, 0.7, 1.0))
metadata = st.dictionaries(
    st.text(max_size=3), st.none() | st.integers(-9, 9) | st.text(max_size=3) | st.floats(0, 1),
    max_size=2,
)  # fmt: skip
observations = st.lists(
    st.builds(Observation, st.text(max_size=12), st.integers(0, 9), st.sampled_from(("", "m1"))),
    max_size=3,
).map(tuple)
vectors = st.none() | st.lists(
    st.tuples(*[st.floats(-1, 1, width=16)] * 3), min_size=0, max_size=3
).map(lambda rows: np.array(rows, np.float32).reshape(-1, 3))
directions = st.sampled_from(("out", "in", "both"))
chosen_types = st.lists(kinds, max_size=2, unique=True).map(tuple)
selections = st.builds(
    Selection,
    scopes=st.none() | st.lists(scopes, max_size=2, unique=True).map(tuple),
    entity_types=st.lists(st.sampled_from(TYPES), max_size=2, unique=True).map(tuple),
    from_ms=moments,
    to_ms=moments,
)


def words(text: str) -> list[str]:
    return text.lower().split()


class StoreMachine(RuleBasedStateMachine):
    """Writes the same into both, and compares all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.plain = PlainMemory()
        self.seen: dict[int, Changed] = {}
        self.last_seq = 0
        self.open()

    def open(self) -> None:
        self.store = Store(
            Path(self.folder.name) / "memory" / "store",
            map_bytes=1 << 30,
            words=words,
            observer=self.observe,
            sync=False,
        )
        self.store.use_model(MODEL)
        self.reader = self.store.reader

    def observe(self, seq: int, changed: list[Changed]) -> None:
        assert seq > self.last_seq
        self.last_seq = seq
        for one in changed:
            if one.deleted:
                self.seen.pop(one.eid, None)
            else:
                self.seen[one.eid] = one

    def close(self) -> None:
        self.store._thread.shutdown()
        self.store._opened.close()

    def teardown(self) -> None:
        self.close()
        self.folder.cleanup()

    def draw_key(self, data: st.DataObject) -> tuple[Scope, str]:
        """Mostly of an entity that is there."""
        known = sorted(self.plain.entities)
        if not known or data.draw(rarely):
            return data.draw(scopes), data.draw(names)
        key = data.draw(st.sampled_from(known))
        return key.scope, self.plain.entities[key].entity_name

    def draw_change(self, data: st.DataObject) -> Change:
        what = data.draw(st.sampled_from("EEENRRRRRdr"))
        wrong = int(data.draw(rarely))
        if what == "N" or not self.plain.entities:
            scope, name = data.draw(scopes), data.draw(names)
        else:
            scope, name = self.draw_key(data)
        if what in "EN":
            known = self.plain.entities.get(EntityKey.of(scope, name))
            entity = Entity(
                scope,
                name,
                data.draw(st.sampled_from(TYPES)),
                data.draw(observations),
                data.draw(metadata),
                data.draw(moments),
                data.draw(moments),
                data.draw(strengths),
                data.draw(st.integers(0, 9)),
                data.draw(st.integers(0, 9)),
                (known.version if known else 0) + 1 + wrong,
            )
            return PutEntity(entity, data.draw(vectors))
        if what == "d":
            return DeleteEntity(EntityKey.of(scope, name))
        if what == "r" and self.plain.relations and not wrong:
            return DeleteRelation(data.draw(st.sampled_from(sorted(self.plain.relations))))
        other, kind = self.draw_key(data)[1], data.draw(kinds)
        key = RelationKey.of(scope, name, kind, other)
        if what == "r":
            return DeleteRelation(key)
        there = self.plain.relations.get(key)
        version = (there.version if there else 0) + 1 + wrong
        relation = Relation(
            scope, name, other, kind, data.draw(strengths), data.draw(strengths),
            data.draw(metadata), data.draw(moments), data.draw(moments), 3, 4, version,
        )  # fmt: skip
        return PutRelation(relation)

    @rule(data=st.data(), sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4))
    def write(self, data: st.DataObject, sizes: list[int]) -> None:
        """Operations that share a commit: each is written, or fails alone."""
        operations: list[list[Change]] = []
        expected: list[Any] = []
        for size in sizes:
            operations.append([self.draw_change(data) for _ in range(size)])
            expected.append(self.plain.run(operations[-1]))
        outcomes = self.store.commit(operations)
        assert [None if one is None else type(one) for one in outcomes] == expected

    @rule(selection=selections)
    def clear(self, selection: Selection) -> None:
        """What is selected goes, with its relations."""
        assert self.store.commit([selection]) == [self.plain.run(selection)]

    @rule()
    def reopen(self) -> None:
        """What was written is there when it is opened again."""
        self.close()
        self.open()

    @precondition(lambda self: self.plain.entities)
    @rule(data=st.data(), direction=directions, types=chosen_types, least=strengths, at=moments,
          depth=st.integers(0, 4), depth_first=st.booleans())  # fmt: skip
    def walk(self, data: st.DataObject, direction: Any, types: tuple[str, ...], least: float,
             at: int | None, depth: int, depth_first: bool) -> None:  # fmt: skip
        """A walk finds what can be reached, and all relations between it."""
        start = data.draw(st.sampled_from(sorted(self.plain.entities)))
        query = GraphQuery(start, depth, direction, types, least, depth_first, at)
        graph = self.reader.walk(query)
        expected = self.plain.distances(query)
        found = {one.key.name: depth for one, depth in zip(graph.nodes, graph.depths, strict=True)}
        assert found == expected
        assert all(self.plain.entities[one.key] == one for one in graph.nodes)
        between = {
            key: self.plain.written(one)
            for key, one in self.plain.admitted(query).items()
            if key.from_entity in expected and key.to_entity in expected
        }
        assert {one.key: one for one in graph.edges} == between
        assert len(graph.edges) == len(between)

    @precondition(lambda self: self.plain.entities)
    @rule(data=st.data(), direction=directions, types=chosen_types, least=strengths, at=moments,
          depth=st.integers(0, 4))  # fmt: skip
    def path(self, data: st.DataObject, direction: Any, types: tuple[str, ...], least: float,
             at: int | None, depth: int) -> None:  # fmt: skip
        """A path is as long as the distance, and goes over admitted relations."""
        keys = st.sampled_from(sorted(self.plain.entities))
        start, end = data.draw(keys), data.draw(keys)
        query = PathQuery(start, end, depth, direction, types, least, at)
        graph = self.reader.path(query)
        distances = self.plain.distances(query) if start.scope == end.scope else {}
        distance = distances.get(end.name)
        if distance is None:
            assert graph.nodes == ()
            return
        assert (graph.nodes[0].key, graph.nodes[-1].key) == (start, end)
        assert graph.depths == tuple(range(distance + 1))
        admitted = self.plain.admitted(query)
        way = zip(graph.nodes, graph.nodes[1:], graph.edges, strict=False)
        for before, after, edge in way:
            assert edge.key in admitted
            forwards = (edge.key.from_entity, edge.key.to_entity)
            assert (before.key.name, after.key.name) in (forwards, forwards[::-1])
            if direction != "both":
                step = (before.key.name, after.key.name)
                assert step == (forwards if direction == "out" else forwards[::-1])

    @rule(selection=selections, limit=st.integers(1, 4))
    def scan(self, selection: Selection, limit: int) -> None:
        """Pages of a selection hold each of it once, with its vectors."""
        rows, after = [], b""
        while True:
            page = self.reader.page(selection, after=after, limit=limit, vectors=True)
            assert len(page.rows) <= limit
            rows += page.rows
            if page.after is None:
                break
            after = page.after
        found = {row.entity.key: row for row in rows}
        expected = {key for key, one in self.plain.entities.items() if selection.takes(one)}
        assert set(found) == expected
        assert len(rows) == len(expected)
        for key, row in found.items():
            np.testing.assert_array_equal(row.vectors, self.plain.vectors_of(key))

    @rule(chosen=st.none() | st.lists(scopes, max_size=2, unique=True), limit=st.integers(1, 4))
    def scan_relations(self, chosen: list[Scope] | None, limit: int) -> None:
        """Pages of relations hold each of the scopes once."""
        relations, after = [], b""
        while True:
            page = self.reader.relation_page(chosen, after=after, limit=limit)
            relations += page.relations
            if page.after is None:
                break
            after = page.after
        expected = {
            key: self.plain.written(one)
            for key, one in self.plain.relations.items()
            if chosen is None or key.scope in chosen
        }
        assert {one.key: one for one in relations} == expected
        assert len(relations) == len(expected)

    @invariant()
    def the_same(self) -> None:
        """All entities and relations, from both ends, and how many there are."""
        keys = [EntityKey.of(scope, name) for scope in SCOPES for name in NAMES]
        assert self.reader.entities(keys) == [self.plain.entities.get(key) for key in keys]
        for direction, end in (("out", "from_entity"), ("in", "to_entity")):
            for key in keys:
                expected = {
                    row: self.plain.written(one)
                    for row, one in self.plain.relations.items()
                    if row.scope == key.scope and getattr(row, end) == key.name
                }
                found = self.reader.relations([key], direction)  # type: ignore[arg-type]
                assert {one.key: one for one in found} == expected
        for row, one in self.plain.relations.items():
            assert self.reader.relation(row) == self.plain.written(one)
        stats = self.reader.stats()
        entities = self.plain.entities.values()
        assert stats.entities == len(self.plain.entities)
        assert stats.relations == len(self.plain.relations)
        assert stats.observations == sum(len(one.observations) for one in entities)
        assert sum(stats.scopes.values()) == sum(stats.entity_types.values()) == stats.entities

    @invariant()
    def whole(self) -> None:
        """Nothing refers to what is not there."""
        assert self.reader.verify() == []

    @invariant()
    def told(self) -> None:
        """Who was told of each commit knows what is there; and so does who reads the log."""
        with self.reader.moment() as moment:
            assert moment.last_seq == self.last_seq
            facts = moment.facts()
            assert facts.eid.tolist() == sorted(self.seen)
            noted = [eid for _, eids in moment.changes_after(0) for eid in eids]
            assert moment.facts_of(sorted(set(noted))).eid.tolist() == facts.eid.tolist()
            terms = {}
            for eids, lengths, numbers in moment.term_blocks(2):
                ends = np.cumsum(lengths)
                for at, eid in enumerate(eids.tolist()):
                    terms[eid] = numbers[ends[at] - lengths[at] : ends[at]].tobytes()
            parts: dict[int, int] = {}
            for eids, block in moment.vector_blocks(1, 2):
                assert block.shape == (len(eids), 3)
                for eid in eids.tolist():
                    parts[eid] = parts.get(eid, 0) + 1
            for eid, one in self.seen.items():
                assert terms[eid] == one.terms == moment.terms_of(eid).astype("<u4").tobytes()
                assert parts.get(eid, 0) == one.parts
                entity = moment.entity(eid)
                assert entity is not None
                assert [one.scope] == moment.scope_ids([entity.scope])
                assert [one.type] == moment.type_ids([entity.entity_type])
                assert one.valid_from == (
                    ALWAYS_FROM if entity.valid_from_ms is None else entity.valid_from_ms
                )
                assert one.valid_to == (
                    ALWAYS_TO if entity.valid_to_ms is None else entity.valid_to_ms
                )
                numbers = np.frombuffer(one.terms, "<u4").tolist()
                assert moment.term_ids(words(embedding_text(entity))) == numbers


StoreMachine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestStoreModel = StoreMachine.TestCase
