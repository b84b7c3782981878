"""The memory of a running node through a client: ``client.memory.search("who wrote it?")``.

The methods are those of ``node.memory`` (``caxton.memory.client.Memory``), waiting or blocking.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from caxton.api.calls import Calls
from caxton.api.exchange import Call, Steps
from caxton.api.memory_calls import MemoryCalls
from caxton.memory.client import Asker, Memory
from caxton.memory.exchange import Form, ImportReader
from caxton.memory.model import Relation
from caxton.memory.requests import Exported, ImportEntity, Stats

__all__ = ["AsyncMemoryClient", "MemoryClient"]

P = ParamSpec("P")
R = TypeVar("R")

PAGE: Final = 500
"""Entities or relations of a page of an export."""


class AsyncMemoryClient(Memory):
    """``Memory`` over the REST API.

    Args:
        calls: of the client.
        run: carries out a call.
        stream: carries out a request whose answer is a stream.
        agent: on whose behalf; None for an operator.
    """

    def __init__(
        self,
        calls: Calls,
        run: Callable[[Steps[Any]], Awaitable[Any]],
        stream: Callable[[Call], AsyncGenerator[bytes]],
        agent: str | None = None,
    ) -> None:
        self._calls = calls
        self._run = run
        self._stream = stream
        self._memory_calls = MemoryCalls(calls)

        async def ask(request: Any) -> Any:
            return await run(self._memory_calls.ask(request))

        super().__init__(ask, agent)

    def of(self, agent: str | None) -> AsyncMemoryClient:
        """The same memory on behalf of ``agent``."""
        return AsyncMemoryClient(self._calls, self._run, self._stream, agent)

    def export_file(
        self, form: Form, *, memory_scope: str | None = None, include_embeddings: bool = False
    ) -> AsyncGenerator[bytes]:
        """The bytes of an export file as they arrive.

        Raises:
            NodeUnreachable: the connection broke; what came so far is no whole file.
        """
        asked = Stats(agent=self.agent, memory_scope=memory_scope)
        return self._stream(
            self._memory_calls.export_call(asked, form, include_embeddings=include_embeddings)
        )

    async def export(
        self, *, memory_scope: str | None = None, include_embeddings: bool = False
    ) -> AsyncIterator[Exported]:
        """Everything that is remembered, page after page."""
        reader = ImportReader(self._calls.url, now_ms=0)
        entities: list[ImportEntity] = []
        relations: list[Relation] = []

        def page() -> Exported:
            made = Exported(tuple(entities), tuple(relations), reader.model)
            entities.clear()
            relations.clear()
            return made

        pieces = self.export_file(
            "jsonl", memory_scope=memory_scope, include_embeddings=include_embeddings
        )
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                for read in reader.feed(piece):
                    if isinstance(read.value, Relation):
                        relations.append(read.value)
                    else:
                        entities.append(read.value)
                if len(entities) + len(relations) >= PAGE:
                    yield page()
        for read in reader.close():
            if isinstance(read.value, Relation):
                relations.append(read.value)
            else:
                entities.append(read.value)
        yield page()


def _blocking(
    method: Callable[Concatenate[Memory, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[MemoryClient, P], R]:
    """A method of ``Memory`` that blocks: its asker never waits, so one step runs all of it."""

    def call(self: MemoryClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        running = method(self._memory, *args, **kwargs)
        try:
            running.send(None)
        except StopIteration as end:
            result: R = end.value
            return result
        raise RuntimeError("a blocking call was interrupted")

    call.__doc__ = method.__doc__
    call.__name__ = method.__name__
    return call


class MemoryClient:
    """``Memory`` over the REST API, blocking.

    Args:
        calls: of the client.
        run: carries out a call.
        stream: carries out a request whose answer is a stream.
        agent: on whose behalf; None for an operator.
    """

    def __init__(
        self,
        calls: Calls,
        run: Callable[[Steps[Any]], Any],
        stream: Callable[[Call], Iterator[bytes]],
        agent: str | None = None,
    ) -> None:
        self._calls = calls
        self._run = run
        self._stream = stream
        self._memory_calls = MemoryCalls(calls)

        async def ask(request: Any) -> Any:
            return run(self._memory_calls.ask(request))

        asker: Asker = ask
        self._memory = Memory(asker, agent)

    def of(self, agent: str | None) -> MemoryClient:
        """The same memory on behalf of ``agent``."""
        return MemoryClient(self._calls, self._run, self._stream, agent)

    ask = _blocking(Memory.ask)
    store = _blocking(Memory.store)
    store_many = _blocking(Memory.store_many)
    add = _blocking(Memory.add)
    relate = _blocking(Memory.relate)
    search = _blocking(Memory.search)
    open = _blocking(Memory.open)
    graph = _blocking(Memory.graph)
    path = _blocking(Memory.path)
    delete = _blocking(Memory.delete)
    delete_observations = _blocking(Memory.delete_observations)
    delete_relations = _blocking(Memory.delete_relations)
    merge = _blocking(Memory.merge)
    clear = _blocking(Memory.clear)
    list = _blocking(Memory.list)
    import_page = _blocking(Memory.import_page)
    stats = _blocking(Memory.stats)
    verify = _blocking(Memory.verify)
    optimize = _blocking(Memory.optimize)
    config = _blocking(Memory.config)
    configure = _blocking(Memory.configure)

    def export_file(
        self, form: Form, *, memory_scope: str | None = None, include_embeddings: bool = False
    ) -> Iterator[bytes]:
        """The bytes of an export file as they arrive, as ``AsyncMemoryClient.export_file``."""
        asked = Stats(agent=self._memory.agent, memory_scope=memory_scope)
        return self._stream(
            self._memory_calls.export_call(asked, form, include_embeddings=include_embeddings)
        )
