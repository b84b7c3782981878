"""The settings under ``memory``."""

from __future__ import annotations

from caxton.config.setting import Setting, choice, digest, flag, row, secret, text
from caxton.types import Bound

__all__ = ["MEMORY_ROWS"]


def _weight(name: str, what: str) -> Setting:
    key = f"memory.{name}_weight"
    return row(key, f"What {what} counts in a search.", Bound(key, float, 0.0, 1.0))


MEMORY_ROWS: tuple[Setting, ...] = (
    row(
        "memory.enabled",
        "Whether the node has a memory; its process starts when it is first asked.",
        flag,
        "true or false",
    ),
    row(
        "memory.backend",
        "Where the memory is kept: `embedded` in the data folder, or a server at `memory.url`.",
        choice("embedded", "qdrant", "neo4j"),
        "embedded, qdrant or neo4j",
    ),
    row(
        "memory.url",
        "Server of the memory, such as `http://localhost:6333` or `bolt://localhost:7687`.",
        text,
        "a URL; needed for qdrant and neo4j",
    ),
    row("memory.user", "User at a Neo4j server.", text, "text"),
    row("memory.password", "Password of that user.", secret, "text", secret=True),
    row("memory.api_key", "Key for a Qdrant server.", secret, "text", secret=True),
    row(
        "memory.database",
        "Database of a Neo4j server, or what the names of Qdrant's collections begin with; empty "
        "for the usual one.",
        text,
        "text",
    ),
    row(
        "memory.timeout_ms",
        "How long one call to a server of the memory may take.",
        Bound("memory.timeout_ms", int, 100, 600_000, unit="ms"),
    ),
    row(
        "memory.engine",
        "What makes vectors of texts; `transformers` needs `pip install 'caxton[transformers]'`, "
        "`none` searches words only.",
        choice("onnx", "transformers", "none"),
        "onnx, transformers or none",
    ),
    row(
        "memory.model",
        "Folder of an embedding model, or its name on the hub; empty for all-MiniLM-L6-v2.",
        text,
        "a folder or OWNER/NAME",
    ),
    row(
        "memory.model_sha256",
        "SHA-256 that the weights of `memory.model` must have; any when empty. The default model "
        "is checked without it.",
        digest,
        "64 hex digits, or empty for any",
    ),
    row(
        "memory.download",
        "Whether a model that is nowhere on this machine may be fetched from the hub.",
        flag,
        "true or false",
    ),
    row(
        "memory.threads",
        "Cores that the embedding model may use.",
        Bound("memory.threads", int, 1, 64),
    ),
    row(
        "memory.cache_bytes",
        "Memory for vectors of texts that came before; 0 for none.",
        Bound("memory.cache_bytes", int, 0, 1 << 34, unit="bytes"),
    ),
    _weight("vector", "the meaning of a text"),
    _weight("words", "the words of a text"),
    _weight("neighbour", "the best entity that one is related to"),
    _weight("recency", "how new an entity is"),
    _weight("importance", "the importance of an entity"),
    row(
        "memory.half_life_days",
        "Days after which an entity counts half as new.",
        Bound("memory.half_life_days", float, 0.01, 36_500.0, unit="days"),
    ),
    row(
        "memory.search_concurrency",
        "Searches at a time; others wait for their turn.",
        Bound("memory.search_concurrency", int, 1, 1_000),
    ),
    row(
        "memory.max_entities_per_agent",
        "Entities that one agent may have in its own scope; 0 for any number.",
        Bound("memory.max_entities_per_agent", int, 0, 100_000_000, unit="entities"),
    ),
)
