"""An export as it leaves the node: pages of the memory, written one after the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from caxton.memory.client import Memory
from caxton.memory.exchange import VERSION, Form, Header, Writer
from caxton.moments import format_time

__all__ = ["export_pieces"]


async def export_pieces(
    memory: Memory,
    form: Form,
    *,
    now_ms: int,
    memory_scope: str | None = None,
    include_embeddings: bool = False,
) -> AsyncGenerator[bytes]:
    """The pieces of the file, in order. No more than one page is held at a time.

    What is written while an export goes on may be in it or not; each page is of one moment.

    Args:
        memory: of the node, or of one agent.
        form: ``json`` or ``jsonl``.
        now_ms: when it begins, in ms since 1970.
        memory_scope: only this scope; all that may be read when None.
        include_embeddings: with vectors, so that importing needs no model.

    Raises:
        CaxtonError: it cannot be read. After the first piece, what came so far is cut off.
    """
    stats = await memory.of(None).stats()
    entities, relations = stats.stats.entities, stats.stats.relations
    if memory.agent is not None or memory_scope is not None:
        entities = relations = 0
        async for page in memory.export(memory_scope=memory_scope):
            entities += len(page.entities)
            relations += len(page.relations)
    writer: Writer | None = None
    pages = memory.export(memory_scope=memory_scope, include_embeddings=include_embeddings)
    async for page in pages:
        if writer is None:
            header = Header(
                version=VERSION,
                exported_at=format_time(now_ms),
                source_backend=stats.backend,
                model=page.model if include_embeddings else "",
                entity_count=entities,
                relation_count=relations,
            )
            writer = Writer(form, header)
            yield writer.begin()
        text = writer.page(page)
        if text:
            yield text
    if writer is not None:
        yield writer.end()
