"""The links of a shard process: submissions in, deliveries both ways, questions both ways."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from actors import Link, LinkClient, LinkFull, LinkServer
from caxton.errors import CaxtonError, InternalError, NodeNotReady, QueueFull, error_from_code
from caxton.links.deliveries import Inbound, Outbound
from caxton.links.origin import LinkOrigin
from caxton.links.questions import Questions
from caxton.links.submitter import Outcome, Submitter
from caxton.links.wire import (
    Acked,
    Answer,
    Deliver,
    Notice,
    Query,
    Refused,
    Settled,
    Submit,
    decode_payload,
    encode_payload,
)
from caxton.message import Message, decode, encode
from caxton.processes.layout import Layout, shard_name
from caxton.routing.accepted import Accepted
from caxton.routing.submission import Submission
from caxton.shard import Shard

__all__ = ["Peer", "Peers", "answer", "sender"]

logger = logging.getLogger("caxton.links")


def sender(link: Link) -> Callable[[msgspec.Struct], None]:
    """Puts sentences on a link."""

    def send(sentence: msgspec.Struct) -> None:
        _send(link, sentence)

    return send


def _send(link: Link, sentence: msgspec.Struct) -> int:
    kind, payload = encode_payload(sentence)
    try:
        return link.send(kind, payload)
    except LinkFull as error:
        raise QueueFull(
            queue=f"the link to {link.peer}", depth=error.size, limit=error.limit
        ) from error


class Peer:
    """Everything this shard has with one other process."""

    def __init__(self, link: Link, shard: Shard) -> None:
        self.link = link
        self.send = sender(link)
        self.origin = LinkOrigin(self.send)
        self.questions = Questions(self.send, link.peer)
        self.submitter = Submitter(self.send)
        self.outbound = Outbound(self._deliver)
        self._delivered: deque[int] = deque()
        """Frames with deliveries that the other side has not confirmed."""
        self.inbound = Inbound(self.send, shard.roster)
        name, _, number = link.peer.partition("-")
        self.number = int(number) if name == "shard" and number.isdigit() else None

    def _deliver(self, sentence: msgspec.Struct) -> None:
        while self._delivered and self._delivered[0] <= self.link.confirmed:
            self._delivered.popleft()
        self._delivered.append(_send(self.link, sentence))

    def replaced(self) -> None:
        """There is a new process: what was delivered to the one before is not meant for it. One
        of those messages may have been its end."""
        self.link.withdraw(set(self._delivered))
        self._delivered.clear()
        self.outbound.forget()


class Peers:
    """The links of one shard."""

    def __init__(self, layout: Layout, number: int) -> None:
        self.shard: Shard | None = None
        self.on_registry: Callable[[], None] = lambda: None
        self._layout = layout
        self._number = number
        self._identity = layout.identity(shard_name(number))
        self._peers: dict[str, Peer] = {}
        self._met: set[str] = set()
        self._server = LinkServer(layout.socket(shard_name(number)), self._identity, self)
        self._clients = [
            LinkClient(layout.socket(shard_name(other)), self._identity, shard_name(other), self)
            for other in range(number)
        ]
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, shard: Shard) -> None:
        """Listen, and connect to the shards with lower numbers."""
        self.shard = shard
        await self._server.start()
        for client in self._clients:
            client.start()

    def _peer(self, link: Link) -> Peer:
        found = self._peers.get(link.peer)
        if found is None:
            if self.shard is None:
                raise RuntimeError("links are started with their shard")
            found = self._peers[link.peer] = Peer(link, self.shard)
        return found

    # --- LinkEvents --------------------------------------------------------------------------

    def on_up(self, link: Link, fresh: bool) -> None:
        """A process is there; one that replaces another has lost what that was told."""
        replaces = fresh and link.peer in self._met
        self._met.add(link.peer)
        peer = self._peer(link)
        if peer.number is not None and self.shard is not None:
            self.shard.health.connected(peer.number, up=True)
            if not replaces:
                self.shard.router.delivery.away.arrived(peer.number)
        if replaces:
            peer.questions.lost()
            if peer.submitter.resend():
                logger.info("sent submissions to %s again", link.peer)
            if peer.number is not None and self.shard is not None:
                peer.replaced()
                again = self.shard.router.delivery.resend(peer.number)
                if again:
                    logger.info("delivered %d messages to %s again", again, link.peer)
        self.on_registry()

    def on_down(self, link: Link) -> None:
        """A process is gone, or its connection."""
        peer = self._peers.get(link.peer)
        if peer is None or self.shard is None:
            return
        if peer.number is None:
            self.shard.router.waiters.forget(peer.origin)
        else:
            self.shard.health.connected(peer.number, up=False)

    def on_frame(self, link: Link, kind: int, payload: bytes) -> None:
        """A sentence came."""
        shard = self.shard
        if shard is None:
            return
        try:
            sentence = decode_payload(kind, payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # It would come again and again, and hold up what is behind it.
            logger.error("dropped a frame of kind %d from %s: %s", kind, link.peer, error)
            return
        peer = self._peer(link)
        if isinstance(sentence, Submit):
            shard.submit(Submission(peer.origin, sentence.first, sentence.wait, sentence.messages))
        elif isinstance(sentence, Deliver):
            peer.inbound.take(sentence)
        elif isinstance(sentence, Settled):
            self._settled(peer, sentence)
        elif isinstance(sentence, Acked):
            peer.submitter.acked(sentence)
        elif isinstance(sentence, Refused):
            peer.submitter.refused(sentence)
        elif isinstance(sentence, Answer):
            peer.questions.answered(sentence)
        elif isinstance(sentence, Query):
            self._begin(self._answer(peer, sentence))
        elif isinstance(sentence, Notice) and sentence.name == "registry":
            self.on_registry()
        elif isinstance(sentence, Notice) and peer.number is not None:
            shard.health.heard(peer.number)

    # --- what the shard needs ----------------------------------------------------------------

    def deliver(self, shard: int, accepted: Accepted) -> None:
        """Have another shard's agent handle a message; before its link is up, it waits there."""
        self._by_number(shard).outbound.deliver(accepted)

    def reachable(self, shard: int) -> bool:
        """Whether the link to a shard is up."""
        peer = self._peers.get(shard_name(shard))
        return peer is not None and peer.link.up

    def unanswered(self) -> int:
        """Submissions to other shards whose links are up."""
        shards = (peer for peer in self._peers.values() if peer.number is not None)
        return sum(len(peer.submitter) for peer in shards if peer.link.up)

    def _by_number(self, shard: int) -> Peer:
        name = shard_name(shard)
        found = self._peers.get(name)
        if found is not None:
            return found
        if shard < self._number:
            return self._peer(self._clients[shard].link)
        return self._peer(self._server.expect(name))

    def elsewhere(self, messages: Sequence[Message], done: Callable[[], None]) -> None:
        """Submit messages to their own shards; ``done`` when all are journaled or refused."""
        if self.shard is None:
            return
        left = len(messages)

        def settle(index: int, outcome: Outcome | CaxtonError) -> None:
            nonlocal left
            left -= 1
            if isinstance(outcome, CaxtonError):
                logger.error("a message of an agent was refused: %s", outcome)
            if not left:
                done()

        for message in messages:
            number = self.shard.directory.shard(message.conversation_id)
            self._by_number(number).submitter.submit([encode(message)], settle)

    async def ask(self, shard: int, name: str, arguments: dict[str, Any]) -> Any:
        """Ask another shard."""
        return await self._by_number(shard).questions.ask(name, arguments)

    def tell_all(self, notice: Notice, *, shards: bool = False) -> None:
        """Tell every connected process, or every connected shard. A full link is passed over."""
        for peer in self._peers.values():
            if peer.link.up and not (shards and peer.number is None):
                try:
                    peer.send(notice)
                except QueueFull as error:
                    logger.warning("%s was not told: %s", peer.link.peer, error)

    def _settled(self, peer: Peer, sentence: Settled) -> None:
        if self.shard is None or peer.number is None:
            return
        router = self.shard.router
        for sequence, message_id, outputs in sentence.done:
            accepted = router.delivery.away.back(peer.number, sequence, message_id)
            if accepted is not None:
                accepted.took_s = sentence.took_ms.get(message_id, 0) / 1_000
                accepted.done([decode(raw) for raw in outputs])
        for sequence, message_id, code, fields, traceback in sentence.failed:
            accepted = router.delivery.away.back(peer.number, sequence, message_id)
            if accepted is not None:
                accepted.failed(error_from_code(code, fields), traceback)

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, peer: Peer, query: Query) -> None:
        peer.send(await answer(query, self.shard))

    async def close(self) -> None:
        """Close every link."""
        for client in self._clients:
            await client.close()
        await self._server.close()


async def answer(query: Query, responder: Any) -> Answer:
    """The answer of ``responder.answer(name, arguments)`` to a query."""
    try:
        if responder is None:
            raise NodeNotReady(part="this process")
        return Answer(query.reference, await responder.answer(query.name, query.arguments))
    except CaxtonError as error:
        return Answer(query.reference, None, error.code, error.fields)
    except (KeyError, TypeError, ValueError) as error:
        logger.exception("question %s failed", query.name)
        failure = InternalError(reason=f"question {query.name}: {error!r}")
        return Answer(query.reference, None, failure.code, failure.fields)
