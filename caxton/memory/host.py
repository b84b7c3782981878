"""The memory of one node as one thing to start, ask and close."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from caxton.config import Config
from caxton.errors import CaxtonError, EmbeddingUnavailable, MemoryUnavailable
from caxton.memory.backend import MemoryBackend
from caxton.memory.backends import make_backend, open_model
from caxton.memory.embedder import Embedder
from caxton.memory.model import Entity
from caxton.memory.permissions import SettingsOf
from caxton.memory.requests import Request
from caxton.memory.service import MemoryService
from caxton.memory.tuning import Tuning

__all__ = ["MemoryHost", "ModelSource"]

logger = logging.getLogger("caxton.memory")

WAIT_S: Final = 20.0
"""How long a question waits for the store to open."""
RETRY_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Between two tries to open it; the last one from then on."""
EVENTS_S: Final = 1.0
"""How often operators are told of new entities."""

ModelSource = Callable[..., Awaitable[Embedder]]


class MemoryHost:
    """Opens the service by itself, again and again while its backend cannot be reached.

    A model that has to be fetched is fetched while words are searched already; the service is
    opened anew with it.

    Args:
        config: the node's settings.
        settings_of: what the agent file of a name says of its memory.
        event: tells operators something.
        opened: called each time the service is open.
        backend: makes the backend; that of the settings when not given.
        model: makes the embedder, likewise.
        retries_s: between two tries to open it.
    """

    def __init__(
        self,
        config: Config,
        settings_of: SettingsOf,
        event: Callable[[str, str, str], None],
        *,
        opened: Callable[[], object] = lambda: None,
        backend: Callable[[Config], MemoryBackend] = make_backend,
        model: ModelSource = open_model,
        retries_s: Sequence[float] = RETRY_S,
    ) -> None:
        self._config = config
        self._settings_of = settings_of
        self._event = event
        self._opened = opened
        self._make_backend = backend
        self._open_model = model
        self._retries_s = retries_s
        self._service: MemoryService | None = None
        self._decided = asyncio.Event()
        """Whether it is open, or known not to open."""
        self._failure = ""
        self._tuning = Tuning(config, config.data / "memory" / "settings.json")
        self._running: asyncio.Task[None] | None = None
        self._created: Counter[str] = Counter()
        self._telling: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to open it."""
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def answer(self, request: Request) -> Any:
        """Answer a request, as ``MemoryService.answer``; before it is open, wait for that.

        Raises:
            MemoryUnavailable: it does not open.
        """
        if self._service is None:
            try:
                async with asyncio.timeout(WAIT_S):
                    await self._decided.wait()
            except TimeoutError:
                raise self._unavailable(f"it did not open within {WAIT_S:g} s") from None
        if self._service is None:
            raise self._unavailable(self._failure or "it is closed")
        return await self._service.answer(request)

    def _unavailable(self, reason: str) -> MemoryUnavailable:
        return MemoryUnavailable(backend=self._config.memory_backend, reason=reason)

    async def _run(self) -> None:
        embedder, reason = await self._model(download=False)
        await self._open(embedder, reason)
        if embedder is None and self._config.memory_engine != "none":
            if not self._config.memory_download:
                return
            embedder, _ = await self._model(download=True)
            if embedder is not None:
                logger.info("the memory is opened anew with its model")
                await self._close_service()
                await self._open(embedder, "")

    async def _model(self, *, download: bool) -> tuple[Embedder | None, str]:
        if self._config.memory_engine == "none":
            return None, "`memory.engine` is `none`"
        try:
            return await self._open_model(self._config, download=download), ""
        except EmbeddingUnavailable as error:
            if download:
                logger.warning("the memory searches words only: %s", error)
            return None, error.detail

    async def _open(self, embedder: Embedder | None, reason: str) -> None:
        config, tries = self._config, 0
        while True:
            try:
                backend = self._make_backend(config)
                service = MemoryService(
                    backend,
                    embedder,
                    settings_of=self._settings_of,
                    reason=reason,
                    tuning=self._tuning,
                )
                service.on_created = self._count
                try:
                    await service.start()
                except BaseException:
                    await backend.close()
                    raise
            except CaxtonError as error:
                self._failed(error.fields.get("reason") or error.detail)
            except Exception as error:
                # A driver or store may fail in ways of its own; it is tried again all the same.
                logger.exception("the memory does not open")
                self._failed(repr(error))
            else:
                self._service, self._failure = service, ""
                self._decided.set()
                self._opened()
                return
            await asyncio.sleep(self._retries_s[min(tries, len(self._retries_s) - 1)])
            tries += 1

    def _failed(self, reason: object) -> None:
        text = str(reason)
        if text != self._failure:
            logger.error("the memory does not open: %s", text)
            self._event("memory.unavailable", self._config.memory_backend, text)
        self._failure = text
        self._decided.set()

    # --- events ------------------------------------------------------------------------------

    def _count(self, created: Sequence[Entity]) -> None:
        self._created.update(one.scope.key for one in created)
        if self._telling is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._telling = loop.call_later(EVENTS_S, self._tell)

    def _tell(self) -> None:
        self._telling = None
        for scope, count in sorted(self._created.items()):
            self._event("memory.entity_created", scope, f"{count:,} new")
        self._created.clear()

    # --- the end -----------------------------------------------------------------------------

    async def _close_service(self, timeout_s: float = 10.0) -> None:
        service, self._service = self._service, None
        self._decided.clear()
        if service is not None:
            await service.close(timeout_s)

    async def close(self, timeout_s: float = 10.0) -> None:
        """Let what is asked end, at most ``timeout_s`` seconds, and close the store."""
        self._closed = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
        if self._telling is not None:
            self._telling.cancel()
            self._tell()
        await self._close_service(timeout_s)
        self._failure = "it is closed"
        self._decided.set()
