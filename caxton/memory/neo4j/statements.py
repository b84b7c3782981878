"""What is said to Neo4j. Values are always parameters, never part of a text."""

from __future__ import annotations

from typing import Any, Final

from caxton.memory.backend import Selection

__all__ = ["SCHEMA", "chosen", "make_vector_index"]

SCHEMA: Final = (
    (
        "CREATE CONSTRAINT caxton_entity_key IF NOT EXISTS "
        "FOR (n:CaxtonEntity) REQUIRE n.key IS UNIQUE"
    ),
    "CREATE INDEX caxton_entity_scope IF NOT EXISTS FOR (n:CaxtonEntity) ON (n.scope)",
    "CREATE INDEX caxton_relation_key IF NOT EXISTS FOR ()-[r:CAXTON_RELATION]-() ON (r.key)",
)
MARK: Final = (
    "MERGE (m:CaxtonMemory {key: 'schema'}) ON CREATE SET m.version = $version "
    "RETURN m.version AS version"
)

WORDS_INDEX: Final = "caxton_entity_words"
MAKE_WORDS_INDEX: Final = (
    f"CREATE FULLTEXT INDEX {WORDS_INDEX} IF NOT EXISTS FOR (n:CaxtonEntity) ON EACH [n.words] "
    "OPTIONS {indexConfig: {`fulltext.analyzer`: 'whitespace'}}"
)
AWAIT_INDEXES: Final = "CALL db.awaitIndexes($seconds)"

VERSIONS: Final = (
    "UNWIND $keys AS key MATCH (n:CaxtonEntity {key: key}) "
    "RETURN n.key AS key, n.version AS version"
)
RELATION_VERSIONS: Final = (
    "UNWIND $rows AS row "
    "MATCH (:CaxtonEntity {key: row.start})-[r:CAXTON_RELATION {key: row.key}]->"
    "(:CaxtonEntity {key: row.end}) RETURN r.key AS key, r.version AS version"
)
REMOVE_PARTS: Final = (
    "UNWIND $keys AS key MATCH (:CaxtonEntity {key: key})-[:CAXTON_PART]->(p:CaxtonPart) "
    "DETACH DELETE p"
)
REMOVE_ENTITIES: Final = "UNWIND $keys AS key MATCH (n:CaxtonEntity {key: key}) DETACH DELETE n"
REMOVE_RELATIONS: Final = (
    "UNWIND $rows AS row "
    "MATCH (:CaxtonEntity {key: row.start})-[r:CAXTON_RELATION {key: row.key}]->"
    "(:CaxtonEntity {key: row.end}) DELETE r"
)
PUT_ENTITIES: Final = (
    "UNWIND $rows AS row MERGE (n:CaxtonEntity {key: row.key}) SET n += row RETURN count(n) AS done"
)
PUT_RELATIONS: Final = (
    "UNWIND $rows AS row "
    "MATCH (a:CaxtonEntity {key: row.start}), (b:CaxtonEntity {key: row.end}) "
    "MERGE (a)-[r:CAXTON_RELATION {key: row.data.key}]->(b) SET r += row.data "
    "RETURN count(r) AS done"
)

ENTITIES: Final = (
    "UNWIND $keys AS key MATCH (n:CaxtonEntity {key: key}) RETURN properties(n) AS found"
)
RELATIONS: Final = {
    "out": "UNWIND $keys AS key MATCH (n:CaxtonEntity {key: key})-[r:CAXTON_RELATION]->() "
    "RETURN key, properties(r) AS found",
    "in": "UNWIND $keys AS key MATCH (n:CaxtonEntity {key: key})<-[r:CAXTON_RELATION]-() "
    "RETURN key, properties(r) AS found",
}
RELATIONS_AT: Final = (
    "MATCH (n:CaxtonEntity)-[r:CAXTON_RELATION]-() WHERE n.key IN $keys "
    "RETURN count(DISTINCT r) AS relations"
)
RELATION: Final = (
    "MATCH (:CaxtonEntity {key: $start})-[r:CAXTON_RELATION {key: $key}]->"
    "(:CaxtonEntity {key: $end}) RETURN properties(r) AS found"
)
SCAN_RELATIONS: Final = (
    "MATCH ()-[r:CAXTON_RELATION]->() WHERE r.key > $after "
    "AND ($scopes IS NULL OR r.scope IN $scopes) "
    "RETURN r.key AS key, properties(r) AS found ORDER BY r.key LIMIT $page"
)
COUNTS: Final = (
    "MATCH (n:CaxtonEntity) RETURN n.scope AS scope, n.entity_type AS type, count(*) AS entities, "
    "sum(size(n.observations)) AS observations, "
    "sum(CASE WHEN n.model = $model THEN n.parts ELSE 0 END) AS vectors, "
    "sum(CASE WHEN n.model <> $model THEN n.parts ELSE 0 END) AS dead"
)
COUNT_RELATIONS: Final = "MATCH ()-[r:CAXTON_RELATION]->() RETURN count(r) AS relations"
PUT_PARTS: Final = (
    "UNWIND $rows AS row MATCH (n:CaxtonEntity {key: row.key}) "
    "CREATE (n)-[:CAXTON_PART]->(p:CaxtonPart) SET p += row.data RETURN count(p) AS done"
)
LIGHT: Final = (
    "n {.key, .scope, .entity_name, .entity_type, .observations, .observed_ms, .observed_in, "
    ".metadata, .valid_from_ms, .valid_to_ms, .importance, .created_ms, .updated_ms, .version}"
)
"""A node's properties without its vectors."""


def make_vector_index(name: str, dimension: int) -> str:
    """Makes the index of the vectors that parts have in the property ``name``."""
    return (
        f"CREATE VECTOR INDEX {name} IF NOT EXISTS FOR (p:CaxtonPart) ON (p.{name}) "
        f"OPTIONS {{indexConfig: {{`vector.dimensions`: {int(dimension)}, "
        "`vector.similarity_function`: 'cosine'}}"
    )


def chosen(selection: Selection, node: str = "n") -> tuple[str, dict[str, Any]]:
    """A condition that holds for the nodes of a selection, and its parameters."""
    terms, values = ["true"], dict[str, Any]()
    if selection.scopes is not None:
        terms.append(f"{node}.scope IN $scopes")
        values["scopes"] = [scope.key for scope in selection.scopes]
    if selection.entity_types:
        terms.append(f"{node}.entity_type IN $types")
        values["types"] = list(selection.entity_types)
    if selection.to_ms is not None:
        terms.append(f"({node}.valid_from_ms IS NULL OR {node}.valid_from_ms <= $to_ms)")
        values["to_ms"] = selection.to_ms
    if selection.from_ms is not None:
        terms.append(f"({node}.valid_to_ms IS NULL OR {node}.valid_to_ms > $from_ms)")
        values["from_ms"] = selection.from_ms
    return " AND ".join(terms), values
