"""Files of exports: what is written reads back, cut or changed files are told with their place."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caxton.errors import ImportInvalid
from caxton.memory.exchange import Form, Header, ImportReader, Writer
from caxton.memory.model import GLOBAL, WORKSPACE, Entity, Observation, Relation, Scope
from caxton.memory.requests import Exported, ImportEntity

NOW = 1_700_000_000_000
FIRST, LAST = -62_135_596_800_000, 253_402_300_799_999
TIMES = st.integers(FIRST, LAST)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
NAMES = TEXTS.filter(str.strip)
SCOPES = st.sampled_from([WORKSPACE, GLOBAL, Scope.of_agent("Greeter")])
RATIOS = st.floats(0, 1)
METADATA = st.dictionaries(
    TEXTS,
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXTS
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)  # fmt: skip
ENTITIES = st.builds(
    Entity,
    scope=SCOPES,
    entity_name=NAMES,
    entity_type=NAMES,
    observations=st.lists(
        st.builds(Observation, TEXTS, TIMES, TEXTS | st.just("")), unique_by=lambda o: o.text
    ).map(tuple),
    metadata=METADATA,
    valid_from_ms=st.none() | TIMES,
    valid_to_ms=st.none() | TIMES,
    importance=RATIOS,
    created_ms=TIMES,
    updated_ms=TIMES,
    version=st.integers(1, 2**53 - 1),
)
VECTORS = st.lists(st.binary(min_size=8, max_size=8), max_size=2).map(tuple)
RELATIONS = st.builds(
    Relation,
    scope=SCOPES,
    from_entity=NAMES,
    to_entity=NAMES,
    relation_type=NAMES,
    strength=RATIOS,
    confidence=RATIOS,
    metadata=METADATA,
    valid_from_ms=st.none() | TIMES,
    valid_to_ms=st.none() | TIMES,
    created_ms=TIMES,
    updated_ms=TIMES,
    version=st.integers(1, 2**53 - 1),
)
FORMS = st.sampled_from(["json", "jsonl"])
ADA = ImportEntity(Entity(WORKSPACE, "Ada", "person", (Observation('wrote\n{["', 1),)))
KNOWS = Relation(WORKSPACE, "Ada", "Ada", "knows")
END = '{"type":"end","entity_count":0,"relation_count":0}'
PAGES = [Exported((ADA,), (), "m@1"), Exported((ADA,), (KNOWS,), "m@1")]


def written(form: Form, pages: Iterable[Exported], model: str = "m@1") -> bytes:
    """The file of some pages."""
    writer = Writer(form, Header(version="1.0", model=model))
    return writer.begin() + b"".join(writer.page(one) for one in pages) + writer.end()


def read(data: bytes, step: int = 1 << 20) -> tuple[list[Any], ImportReader]:
    """What is in a file that arrives in pieces of ``step`` bytes."""
    reader = ImportReader("f", now_ms=NOW)
    found: list[Any] = []
    for start in range(0, len(data), step):
        found += reader.feed(data[start : start + step])
    found += reader.close()
    return [one.value for one in found], reader


@given(
    FORMS,
    st.lists(st.tuples(ENTITIES, VECTORS), max_size=4),
    st.lists(RELATIONS, max_size=3),
    st.integers(1, 400),
)
@settings(max_examples=200, deadline=None)
def test_what_is_written_reads_back(
    form: Form, entities: list[Any], relations: list[Relation], step: int
) -> None:
    """Without a loss, in both forms, however it arrives."""
    items = [ImportEntity(*one) for one in entities]
    pages = [Exported((one,), (), "m@1") for one in items]
    found, reader = read(written(form, [*pages, Exported((), tuple(relations))]), step)
    assert found == [*items, *relations]
    assert (reader.entities, reader.relations) == (len(items), len(relations))
    assert reader.header == Header(version="1.0", model="m@1")
    assert not reader.foreign


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_a_file_that_was_cut_is_told(form: Form) -> None:
    """At any byte but the last line feed."""
    data = written(form, PAGES)
    assert len(read(data)[0]) == 3
    assert read(data[:-1])[0] == read(data)[0]
    for end in range(len(data) - 1):
        with pytest.raises(ImportInvalid):
            read(data[:end])


@given(FORMS, st.data())
@settings(max_examples=200, deadline=None)
def test_a_changed_byte_is_read_or_told(form: Form, data: st.DataObject) -> None:
    """Never anything but an ImportInvalid with a source and a place."""
    changed = bytearray(written(form, PAGES))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    told = None
    try:
        read(bytes(changed), data.draw(st.integers(1, 50)))
    except ImportInvalid as error:
        told = error.fields
    if told is not None:
        assert told["source"] == "f"
        assert str(told["place"]).startswith(("line ", "its end"))


@given(st.binary(max_size=60), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_bytes_are_told(data: bytes, step: int) -> None:
    """What is no export is refused, whatever it is."""
    with pytest.raises(ImportInvalid):
        read(data, step)


def line(**fields: Any) -> str:
    """A line of an entity."""
    return json.dumps({"entity_name": "a", "entity_type": "b", **fields})


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("", "its end", "nothing in it"),
        ("\n \n", "its end", "nothing in it"),
        ("[1]", "line 1", "a JSON object or JSON Lines expected"),
        ("{", "line 1", "truncated"),
        (f"{line()}\nx", "line 2", "malformed"),
        (f"{line()}\n\n{{}}", "line 3", "neither an entity nor a relation"),
        (line(entity_name="  "), "line 1", "more than spaces"),
        (line(entity_name="x" * 201), "line 1", "entity_name"),
        (line(entity_type=""), "line 1", "entity_type"),
        (line(entity_type=7), "line 1", "entity_type"),
        (line(observation=["x"]), "line 1", "unknown field `observation`"),
        (line(memory_scope="moon"), "line 1", "memory_scope"),
        (line(valid_from="today"), "line 1", "valid_from"),
        (line(importance=2), "line 1", "importance"),
        (line(version=0), "line 1", "version"),
        (line(embeddings=["?"]), "line 1", "embeddings[0]"),
        (line(embeddings=["AAA="]), "line 1", "float32"),
        ('{"type":"metadata","version":"2.0"}', "line 1", "version 2.0"),
        ('{"type":"metadata","version":"1.0"}', "its end", "the last line is missing"),
        (f'{line()}\n{{"type":"metadata","version":"1.0"}}', "line 2", "before"),
        (f"{line()}\n{END.replace('0', '2', 1)}", "line 2", "2 entities"),
        (f'{{"type":"metadata","version":"1.0"}}\n{END}\n{line()}', "line 3", "more after"),
        ('{"type":"entity","name":"a"}', "line 1", "entityType"),
        ('{"type":"relation","from":"a","to":"b"}', "line 1", "relationType"),
        ('{"entities":[\n1]}', "line 2, number 1 of entities", "object"),
        ('{"entities":[\n{"from_entity":"a","to_entity":"b","relation_type":"c"}]}',
         "line 2, number 1 of entities", "none of entities"),
        ('{"entities":[],"other":1}', "line 1", "no member is called `other`"),
        ('{"entities":[]}{}', "line 1", "nothing more expected"),
        ('{"entities":[,]}', "line 1", "a value expected"),
        ('{"entities":[{}{}]}', "line 1, number 1 of entities", "neither"),
        (f'{{"entities":[{line()} {line()}]}}', "line 1", "a comma"),
        ('{"entities"\n:[],\n}', "line 3", "a member's name"),
        ('{"entities":[], "relations" []}', "line 1", "`:` expected"),
        (f'{{"entities":[{line()}],"memory_scope":"global"}}', "line 1", "before what is imported"),
        ('{"export_metadata":{"version":"9"}}', "line 1", "version 9"),
    ],
)  # fmt: skip
def test_faults_are_told_with_their_place(text: str, place: str, said: str) -> None:
    """In one piece and byte by byte."""
    for step in (1, 1 << 20):
        with pytest.raises(ImportInvalid) as caught:
            read(text.encode(), step)
        assert caught.value.fields["place"] == place
        assert said in caught.value.detail


def test_what_is_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line, and a value of a document, before all of it is held."""
    monkeypatch.setattr("caxton.memory.exchange.LONGEST", 1_000)
    for text in (line(entity_name="x" * 2_000), f'{{"entities":[{line(entity_name="x" * 2_000)}'):
        with pytest.raises(ImportInvalid, match="longer than 1,000 bytes"):
            read(text.encode(), 300)


def test_lines_by_hand() -> None:
    """Name and type are enough; observations may be texts; the same one twice is once."""
    text = f"\ufeff{line(observations=['x', 'y', 'x'])}\n{line(valid_to='2026-01-02T00:00:00Z')}"
    (one, other), reader = read(text.encode())
    assert [seen.text for seen in one.entity.observations] == ["x", "y"]
    assert {seen.at_ms for seen in one.entity.observations} == {NOW}
    assert one.entity.scope == WORKSPACE
    assert one.entity.created_ms == one.entity.updated_ms == NOW
    assert other.entity.valid_to_ms == 1_767_312_000_000
    assert reader.model == ""


def test_vectors_without_a_model_are_left_out() -> None:
    """Nobody could say what they are comparable with."""
    data = base64.b64encode(b"\0" * 8).decode()
    assert read(line(embeddings=[data]).encode())[0][0].vectors == ()
    kept = written("json", [Exported((ImportEntity(ADA.entity, (b"\0" * 8,)),), ())])
    assert read(kept)[0][0].vectors == (b"\0" * 8,)


MCP_FILE = b"""\
{"type":"entity","name":"Ada","entityType":"person","observations":["wrote","","wrote"]}
{"type":"relation","from":"Ada","to":"Engine","relationType":"programs"}
{"type":"entity","name":"Engine","entityType":"machine","observations":[],"createdAt":"x"}
"""


def test_the_file_of_the_mcp_memory_server() -> None:
    """Recognised by itself, lines in any order, what others have added left out."""
    found, reader = read(MCP_FILE)
    assert reader.foreign
    assert [type(one) for one in found] == [ImportEntity, Relation, ImportEntity]
    assert found[0].entity == Entity(
        WORKSPACE, "Ada", "person", (Observation("wrote", NOW),), created_ms=NOW, updated_ms=NOW
    )
    assert found[1].relation_type == "programs"


def test_what_the_mcp_memory_server_answers_reads_too() -> None:
    """The answer of its read_graph, saved to a file."""
    lines = [json.loads(one) for one in MCP_FILE.splitlines()]
    graph = {
        "entities": [one for one in lines if one["type"] == "entity"],
        "relations": [one for one in lines if one["type"] == "relation"],
    }
    found, reader = read(json.dumps(graph, indent=2).encode(), 7)
    assert reader.foreign
    assert len(found) == 3


def test_an_envelope() -> None:
    """What says where it goes stands before the data."""
    inner = msgspec.json.decode(written("json", PAGES))
    text = json.dumps({"agent_id": None, "memory_scope": "global", "data": inner})
    for step in (1, 1 << 20):
        found, reader = read(text.encode(), step)
        assert len(found) == 3
        assert reader.envelope == {"memory_scope": "global"}
