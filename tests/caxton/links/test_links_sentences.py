"""What flows between processes: batches cut by size, answered once, sent again after a loss."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import ActorSystem
from caxton.agents.directory import Directory
from caxton.errors import (
    AgentFailed,
    AgentNotFound,
    CaxtonError,
    ConversationNotFound,
    NodeNotReady,
    QueueFull,
    Timeout,
)
from caxton.links import deliveries
from caxton.links.chunks import CHUNK_BYTES, CHUNK_ITEMS, chunks
from caxton.links.deliveries import Inbound, Outbound
from caxton.links.origin import LinkOrigin
from caxton.links.questions import Questions
from caxton.links.submitter import Outcome, Submitter
from caxton.links.wire import (
    Acked,
    Answer,
    Deliver,
    Kind,
    Notice,
    Query,
    Refused,
    Replies,
    Settled,
    Submit,
    decode_payload,
    encode_payload,
    shard_of,
)
from caxton.message import encode, make_message
from caxton.routing.accepted import Accepted
from caxton.routing.breakers import Breakers
from caxton.routing.delivery import Delivery
from caxton.routing.retries import Retrying
from caxton.types import new_id

A, B = new_id(), new_id()
MESSAGE = make_message("inform", sender=A, receiver=B, content="x")
RAW = encode(MESSAGE)


async def turns(count: int = 3) -> None:
    """Let the event loop run what is scheduled."""
    for _ in range(count):
        await asyncio.sleep(0)


@given(st.lists(st.integers(0, 3 * CHUNK_BYTES // 2), max_size=50))
def test_chunks_keep_order_and_bounds(sizes: list[int]) -> None:
    """Nothing is lost or moved; only a single item may be over the limit."""
    parts = list(chunks(sizes, lambda size: size))
    assert [size for part in parts for size in part] == sizes
    for part in parts:
        assert 1 <= len(part) <= CHUNK_ITEMS
        assert sum(part) <= CHUNK_BYTES or len(part) == 1


def test_chunks_are_cut_by_count_too() -> None:
    """512 to a frame."""
    assert [len(part) for part in chunks([1] * 1_100, lambda size: size)] == [512, 512, 76]


SENTENCES = [
    Submit(1, True, [msgspec.Raw(RAW)]),
    Acked(True, [1, 2], [7]),
    Refused([(1, "QUEUE_FULL", {"depth": 1})]),
    Replies([msgspec.Raw(RAW)]),
    Deliver([(1, 2, B, b"", msgspec.Raw(RAW))]),
    Settled([(1, A, [RAW])], [(2, A, "AGENT_FAILED", {}, "tb")], {A: 1_500}),
    Query(1, "stats", {}),
    Answer(1, {"a": 1}),
    Notice("event", ["a", "b", "c"]),
]


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda one: type(one).__name__)
def test_sentences_travel(sentence: msgspec.Struct) -> None:
    """Each kind has its number and comes back as it was."""
    kind, payload = encode_payload(sentence)
    assert encode_payload(decode_payload(kind, payload)) == (kind, payload)


@given(st.integers(0, 20), st.binary(max_size=60))
def test_garbage_is_one_kind_of_error(kind: int, payload: bytes) -> None:
    """A sentence or a msgspec error; text that is no UTF-8 counts as one."""
    try:
        result: object = decode_payload(kind, payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        result = error
    assert result is not None
    if kind not in list(Kind):
        assert isinstance(result, msgspec.MsgspecError)


@given(st.binary(min_size=16, max_size=16), st.integers(1, 32))
def test_an_id_lives_on_one_shard(identity: bytes, shards: int) -> None:
    """Always the same, always one there is."""
    assert shard_of(identity, shards) == shard_of(identity, shards)
    assert 0 <= shard_of(identity, shards) < shards


def test_ids_spread_evenly() -> None:
    """No shard has twice the share of another."""
    counts = [0] * 4
    for _ in range(4_000):
        counts[shard_of(new_id(), 4)] += 1
    assert min(counts) > 800


def test_what_does_not_go_out_is_refused_and_forgotten() -> None:
    """A full link: what went before stays open, the rest is told and never sent later."""
    sent: list[Submit] = []
    settled: list[tuple[int, object]] = []

    def send(sentence: Submit) -> None:
        if sent:
            raise QueueFull(queue="link", depth=1, limit=1)
        sent.append(sentence)

    submitter = Submitter(send)  # type: ignore[arg-type]  # only submissions are sent
    big = b"x" * (CHUNK_BYTES * 2 // 3)
    submitter.submit([big] * 3, lambda index, outcome: settled.append((index, outcome)))
    assert [index for index, _ in settled] == [1, 2]
    assert all(isinstance(outcome, QueueFull) for _, outcome in settled)
    assert len(submitter) == 1
    submitter.acked(Acked(True, [sent[0].first, 1], []))
    assert settled[2] == (0, Outcome(True, False))
    assert len(submitter) == 0


def test_a_submitter_settles_each_once_and_sends_the_rest_again() -> None:
    """After a replacement exactly what is unanswered goes out, under its old references."""
    sent: list[Submit] = []
    settled: list[tuple[int, object]] = []
    submitter = Submitter(sent.append)  # type: ignore[arg-type]
    submitter.submit([RAW] * 5, lambda index, outcome: settled.append((index, outcome)))
    submitter.submit([RAW], lambda index, outcome: settled.append((9, outcome)), wait=True)
    base = sent[0].first
    submitter.acked(Acked(True, [0, 2], [2]))
    assert settled == []
    submitter.acked(Acked(True, [base, 2], [base + 2]))
    submitter.acked(Acked(True, [base, 2], []))
    submitter.refused(Refused([(base + 3, "QUEUE_FULL", {"queue": "q", "depth": 1, "limit": 1})]))
    assert settled[:3] == [
        (0, Outcome(True, False)),
        (1, Outcome(True, False)),
        (2, Outcome(True, True)),
    ]
    assert isinstance(settled[3][1], QueueFull)
    sent.clear()
    assert submitter.resend() == 2
    assert [(one.first, one.wait, len(one.messages)) for one in sent] == [
        (base + 4, False, 1),
        (base + 5, True, 1),
    ]
    submitter.abandon(NodeNotReady(part="shard 0"))
    assert len(submitter) == 0
    assert [index for index, _ in settled] == [0, 1, 2, 3, 4, 9]


async def test_an_origin_answers_in_one_frame_of_each_kind() -> None:
    """However many outcomes a turn of the loop has."""
    sent: list[Any] = []
    origin = LinkOrigin(sent.append)
    origin.acked([1, 2], disk=True)
    origin.acked([7, 1], disk=True)
    origin.duplicate([4], disk=True)
    origin.refused(5, NodeNotReady(part="x"))
    origin.replied(RAW, MESSAGE)
    await turns()
    assert [type(one) for one in sent] == [Acked, Refused, Replies]
    assert sent[0].references == [1, 2, 7, 1]
    assert sent[0].duplicates == [4]


class Router:
    """Keeps how deliveries end."""

    def __init__(self) -> None:
        self.ended: list[tuple[int, object]] = []

    def done(self, accepted: Accepted, outputs: Any) -> None:
        self.ended.append((accepted.sequence, list(outputs)))

    def failed(self, accepted: Accepted, error: CaxtonError, traceback: str) -> None:
        self.ended.append((accepted.sequence, error))


def accepted(sequence: int, router: Router) -> Accepted:
    one = Accepted(MESSAGE, RAW, sequence, 0.0, router)
    one.target = B
    return one


async def test_deliveries_go_out_together_and_wait_for_a_full_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One frame a turn; what a full link refuses is tried again, in order, and nothing twice."""
    monkeypatch.setattr(deliveries, "AGAIN_S", 0.001)
    sent: list[Deliver] = []
    full = True

    def send(sentence: Any) -> None:
        if full:
            raise QueueFull(queue="link", depth=1, limit=1)
        sent.append(sentence)

    outbound = Outbound(send)
    for number in (1, 2):
        outbound.deliver(accepted(number, Router()))
    await turns()
    assert sent == []
    full = False
    async with asyncio.timeout(5):
        while not sent:
            await asyncio.sleep(0.001)
    assert [item[0] for one in sent for item in one.items] == [1, 2]


class Agents:
    """Mailboxes of agents: keeps what is put."""

    def __init__(self) -> None:
        self.put_in: list[Any] = []
        self.here = True

    def put(self, agent_id: bytes, handling: Any) -> bool:
        if self.here:
            self.put_in.append(handling)
        return self.here


MESSAGES = [make_message("inform", sender=A, receiver=B, content=str(n)) for n in range(6)]


def deliver(*numbers: int, shift: int = 0) -> Deliver:
    """Deliveries of these messages, under their numbers plus ``shift``."""
    return Deliver([(n + shift, 1, B, b"", msgspec.Raw(encode(MESSAGES[n]))) for n in numbers])


async def test_a_repeated_delivery_is_handled_once_and_answered_again() -> None:
    """The other shard was replaced before it committed the outcome."""
    sent: list[Settled] = []
    agents = Agents()
    inbound = Inbound(sent.append, agents)  # type: ignore[arg-type]
    inbound.take(deliver(1, 2))
    inbound.take(deliver(1))
    assert [one.sequence for one in agents.put_in] == [1, 2]
    agents.put_in[0].took_s = 2.5
    agents.put_in[0].done([MESSAGE])
    agents.put_in[1].failed(AgentFailed(agent="a", attempts=1, reason="r"), "tb")
    await turns()
    assert sent[0].done == [(1, MESSAGES[1].message_id, [RAW])]
    assert sent[0].took_ms == {MESSAGES[1].message_id: 2_500}
    assert sent[0].failed[0][:3] == (2, MESSAGES[2].message_id, "AGENT_FAILED")
    inbound.take(deliver(1, 2))
    await turns()
    assert sent[1].done == [(1, MESSAGES[1].message_id, [RAW])]
    assert sent[1].took_ms == {}
    assert [one.sequence for one in agents.put_in] == [1, 2, 2]


async def test_a_number_that_another_message_had_is_not_taken_for_it() -> None:
    """A shard that lost its uncommitted tail gives its numbers to other messages."""
    sent: list[Settled] = []
    agents = Agents()
    inbound = Inbound(sent.append, agents)  # type: ignore[arg-type]
    inbound.take(deliver(1, 2))
    agents.put_in[0].done([])
    inbound.take(deliver(1, 2, shift=5))
    inbound.take(Deliver([(1, 1, B, b"", msgspec.Raw(encode(MESSAGES[3])))]))
    assert [one.message for one in agents.put_in] == [MESSAGES[1], MESSAGES[2], MESSAGES[3]]
    agents.put_in[1].done([])
    await turns()
    reported = [(number, key) for one in sent for number, key, _ in one.done]
    assert reported == [
        (1, MESSAGES[1].message_id),
        (6, MESSAGES[1].message_id),
        (7, MESSAGES[2].message_id),
    ]


async def test_a_late_report_settles_only_its_own_message() -> None:
    """The number may be that of another message by now."""
    sent: list[int] = []

    class Remote:
        def deliver(self, shard: int, one: Accepted) -> None:
            sent.append(one.sequence)

        def reachable(self, shard: int) -> bool:
            return True

    directory = Directory(new_id(), 2)
    receiver = next(one for one in iter(new_id, b"") if directory.shard(one) == 1)
    delivery = Delivery(
        directory,
        0,
        Agents(),
        Remote(),
        window=10,
        reload=lambda sequence: None,
        settled=lambda one, outputs: None,
        buried=lambda one, error, traceback: None,
        retrying=lambda one, delay_s: None,
        on_trial=lambda one, group, begin: begin(),
        other=lambda one: None,
        retries=Retrying(100),
        offline_limit=10,
        breakers=Breakers(
            ActorSystem("links"), lambda: 0, threshold=3, timeout_ms=5_000, changed=lambda one: None
        ),
        slow_s=60.0,
        now_ms=lambda: 0,
    )
    mine = accepted(7, Router())
    delivery.deliver(mine, receiver)
    assert sent == [7]
    assert delivery.away.back(1, 7, new_id()) is None
    assert delivery.away.back(1, 8, MESSAGE.message_id) is None
    assert delivery.resend(1) == 1
    assert delivery.away.back(1, 7, MESSAGE.message_id) is mine
    assert delivery.away.back(1, 7, MESSAGE.message_id) is None


async def test_an_agent_that_is_not_here_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """It moved or was deleted; outcomes that were given are bounded."""
    monkeypatch.setattr(deliveries, "REMEMBERED", 2)
    sent: list[Settled] = []
    agents = Agents()
    inbound = Inbound(sent.append, agents)  # type: ignore[arg-type]
    agents.here = False
    inbound.take(deliver(1))
    inbound.take(Deliver([(9, 1, B, b"", msgspec.Raw(b"\x01"))]))
    await turns()
    assert [one[2] for one in sent[0].failed] == [AgentNotFound.code]
    agents.here = True
    inbound.take(deliver(2, 3, 4))
    for one in agents.put_in:
        one.done([])
    assert list(inbound._outcomes) == [MESSAGES[3].message_id, MESSAGES[4].message_id]


async def test_outcomes_wait_for_a_full_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is lost."""
    monkeypatch.setattr(deliveries, "AGAIN_S", 0.001)
    sent: list[Settled] = []
    full = True

    def send(sentence: Any) -> None:
        if full:
            raise QueueFull(queue="link", depth=1, limit=1)
        sent.append(sentence)

    agents = Agents()
    inbound = Inbound(send, agents)
    inbound.take(deliver(1, 2))
    agents.put_in[0].done([])
    agents.put_in[1].failed(AgentFailed(agent="a", attempts=1, reason="r"), "")
    await turns()
    full = False
    async with asyncio.timeout(5):
        while not sent:
            await asyncio.sleep(0.001)
    assert [one[0] for one in sent[0].done] == [1]
    assert [one[0] for one in sent[0].failed] == [2]


async def test_questions_end_with_an_answer_an_error_a_deadline_or_a_loss() -> None:
    """Never by hanging."""
    asked: list[Query] = []
    questions = Questions(asked.append, "shard 1")  # type: ignore[arg-type]

    async def ask(answer: Callable[[Query], None]) -> object:
        task = asyncio.ensure_future(questions.ask("stats", {}, 0.05))
        await turns()
        answer(asked[-1])
        return await task

    assert await ask(lambda q: questions.answered(Answer(q.reference, 5))) == 5
    with pytest.raises(ConversationNotFound):
        await ask(
            lambda q: questions.answered(
                Answer(q.reference, None, "CONVERSATION_NOT_FOUND", {"conversation": "c"})
            )
        )
    with pytest.raises(NodeNotReady, match="shard 1"):
        await ask(lambda q: questions.lost())
    with pytest.raises(Timeout, match="shard 1"):
        await ask(lambda q: None)
    questions.answered(Answer(asked[-1].reference, 1))
