"""The link of a process to the tools process: calls there, news of tools back."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from actors import Identity, Link, LinkClient
from caxton.links.questions import Questions
from caxton.links.wire import Answer, Notice, decode_payload
from caxton.processes.layout import TOOLS, Layout
from caxton.processes.peers import sender
from caxton.tools.catalog import BUILTIN_SOURCE, ToolCatalog, specs_from
from caxton.tools.runner import RemoteToolRunner
from caxton.views import ToolServerView, ToolsView

__all__ = ["ToolLink"]

logger = logging.getLogger("caxton.links")


class ToolLink:
    """See the module.

    Args:
        layout: the node.
        identity: who this process is.
        catalog: kept equal to that of the tools process.
        told: called with the state of the MCP servers when it was told.
    """

    def __init__(
        self,
        layout: Layout,
        identity: Identity,
        catalog: ToolCatalog,
        told: Callable[[tuple[ToolServerView, ...]], None] = lambda _: None,
    ) -> None:
        self._catalog = catalog
        self._told = told
        self.on_usage: Callable[[ToolsView], None] = lambda usage: None
        """Called with how tools are used, now and then."""
        self.on_audit: Callable[[str, str, str], None] | None = None
        """Keeps the audit trail, in the one process that does."""
        self._client = LinkClient(layout.socket(TOOLS), identity, TOOLS, self)
        self.questions = Questions(sender(self._client.link), TOOLS)
        """Asks it."""
        self._met = False
        self.runner = RemoteToolRunner(self.questions)
        """Runs tools there."""

    def start(self) -> None:
        """Begin to connect."""
        self._client.start()

    def on_up(self, link: Link, fresh: bool) -> None:
        """It is there; one that replaces another has lost what that was asked."""
        if fresh and self._met:
            self.questions.lost()
        self._met = True

    def on_down(self, link: Link) -> None:
        """It is gone; what is asked waits for its replacement."""

    def on_frame(self, link: Link, kind: int, payload: bytes) -> None:
        """It answered, or told which tools there are."""
        try:
            sentence = decode_payload(kind, payload)
            if isinstance(sentence, Answer):
                self.questions.answered(sentence)
            elif isinstance(sentence, Notice) and sentence.name == "tools":
                self._take(sentence)
            elif isinstance(sentence, Notice) and sentence.name == "audit" and self.on_audit:
                kind, subject, detail = sentence.value
                self.on_audit(str(kind), str(subject), str(detail))
            elif isinstance(sentence, Notice) and sentence.name == "tool_usage":
                self._used(msgspec.convert(sentence.value, ToolsView))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # It would come again and again, and hold up what is behind it.
            logger.error("dropped a frame of kind %d from %s: %s", kind, link.peer, error)

    def _take(self, notice: Notice) -> None:
        specs = specs_from(notice.value["tools"])
        servers = msgspec.convert(notice.value["servers"], tuple[ToolServerView, ...])
        self._catalog.problems = msgspec.convert(notice.value["problems"], dict[str, str])
        sources = {spec.source for spec in specs} | set(self._catalog.sources)
        for source in sorted(sources - {BUILTIN_SOURCE}):
            self._catalog.put(source, [one for one in specs if one.source == source])
        self._told(servers)

    def _used(self, usage: ToolsView) -> None:
        self._catalog.calls = {one.name: one.calls for one in usage.tools}
        self.on_usage(usage)

    async def close(self) -> None:
        """Close the link."""
        await self._client.close()
