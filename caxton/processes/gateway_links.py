"""The links of a process that holds a gateway: one to each shard."""

from __future__ import annotations

import asyncio

from actors import Link, LinkClient
from caxton.gateway import Gateway
from caxton.links.wire import Notice, decode_payload
from caxton.processes.layout import Layout, shard_name
from caxton.processes.peers import sender
from caxton.storage.registry import Registry

__all__ = ["GatewayLinks"]


class GatewayLinks:
    """Connects a gateway to every shard of its node, and keeps its directory current."""

    def __init__(self, layout: Layout, name: str, gateway: Gateway, registry: Registry) -> None:
        self._gateway = gateway
        self._registry = registry
        identity = layout.identity(name)
        self._clients = []
        self._numbers: dict[str, int] = {}
        self._met: set[str] = set()
        self._all_met = asyncio.Event()
        for number in range(layout.shards):
            peer = shard_name(number)
            client = LinkClient(layout.socket(peer), identity, peer, self)
            gateway.attach(number, sender(client.link))
            self._clients.append(client)
            self._numbers[peer] = number

    def start(self) -> None:
        """Begin to connect."""
        self._refresh()
        self._gateway.directory.refresh = self._refresh
        for client in self._clients:
            client.start()

    async def met(self, timeout_s: float) -> bool:
        """Wait until every shard was connected once; False when ``timeout_s`` passed first."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._all_met.wait()
        except TimeoutError:
            return False
        return True

    def _refresh(self) -> None:
        self._gateway.directory.follow(self._registry)

    def on_up(self, link: Link, fresh: bool) -> None:
        """A shard is there; one that replaces another has lost what that was told."""
        self._refresh()
        if fresh and link.peer in self._met:
            self._gateway.replaced(self._numbers[link.peer])
        self._met.add(link.peer)
        if len(self._met) == len(self._clients):
            self._all_met.set()

    def on_down(self, link: Link) -> None:
        """A shard is gone; what is sent waits for its replacement."""

    def on_frame(self, link: Link, kind: int, payload: bytes) -> None:
        """A shard said something."""
        sentence = decode_payload(kind, payload)
        if isinstance(sentence, Notice) and sentence.name == "registry":
            self._refresh()
            return
        self._gateway.receive(self._numbers[link.peer], sentence)

    async def close(self) -> None:
        """Close every link."""
        for client in self._clients:
            await client.close()
