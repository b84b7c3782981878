"""The way of a message through one shard, stage by stage, with everything real but the agents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from engine import CLIENT, Engine, agent_id, reply

from caxton.agents.behaviour import Outgoing
from caxton.errors import ConversationNotFound, InternalError, ModelUnavailable, StorageFull
from caxton.message import DeliveryOptions, Message, Performative, encode, make_message
from caxton.routing import queues as queues_module
from caxton.routing.admission import RecentIds
from caxton.routing.retries import Retries
from caxton.routing.submission import Submission
from caxton.types import format_id, new_id

Make = Callable[..., Engine]


def echo(message: Message, context: Any) -> tuple[Outgoing, ...]:
    return reply(message.text)


def silent(message: Message, context: Any) -> tuple[Outgoing, ...]:
    return ()


async def test_a_message_is_journaled_handled_and_acknowledged(make_engine: Make) -> None:
    """One ack, one handling, one reply in the same conversation, both marked handled."""
    engine = make_engine({"echo": echo})
    asked = engine.message("echo", content="hello")
    reference = engine.submit(asked, wait=True)
    await engine.until(lambda: engine.asker.replies)
    assert engine.asker.acks == [reference]
    answer = engine.asker.replies[0]
    assert (answer.text, answer.sender, answer.in_reply_to) == (
        "hello",
        agent_id("echo"),
        asked.message_id,
    )
    await engine.settled()
    assert engine.texts(asked.conversation_id) == [("request", "hello"), ("inform", "hello")]
    view = engine.shard.view()
    assert (view.accepted, view.handled, view.pending, view.conversations) == (2, 2, 0, 1)
    row = engine.shard.agents()[0]
    assert (row.state, row.handled, row.mailbox) == ("running", 1, 0)


async def test_what_may_not_enter_changes_nothing(make_engine: Make) -> None:
    """Garbage, strangers and too large contents are refused by reference; nothing is journaled."""
    engine = make_engine({"echo": echo}, limits_message_bytes=1_024)
    stranger = make_message("inform", sender=new_id(), receiver=agent_id("echo"))
    large = engine.message("echo", content=b"x" * 1_025)
    good = engine.message("echo")
    raws = [b"\xc1garbage", encode(stranger), encode(large), encode(good)]
    engine.shard.submit(Submission(engine.asker, 10, False, raws))
    await engine.until(lambda: engine.asker.acks)
    codes = {number: error.code for number, error in engine.asker.refusals.items()}
    assert codes == {10: "VALIDATION_ERROR", 11: "NOT_AUTHORIZED", 12: "MESSAGE_TOO_LARGE"}
    assert engine.asker.acks == [13]
    await engine.settled()
    assert engine.shard.view().refused == 3
    assert engine.shard.journal.next_sequence == 3


async def test_the_limit_of_pending_messages_is_hard(make_engine: Make) -> None:
    """QueueFull, retryable; accepted again once there is room."""
    gate = asyncio.Event()

    async def waits(message: Message, context: Any) -> tuple[Outgoing, ...]:
        await gate.wait()
        return ()

    engine = make_engine({"slow": waits}, limits_pending=1_000)
    engine.submit(*(engine.message("slow") for _ in range(1_001)))
    await engine.until(lambda: engine.asker.refusals)
    assert {error.code for error in engine.asker.refusals.values()} == {"QUEUE_FULL"}
    assert list(engine.asker.refusals) == [1_000]
    gate.set()
    await engine.settled()
    again = engine.submit(engine.message("slow"))
    await engine.until(lambda: again in engine.asker.acks)


async def test_a_repeated_message_is_acknowledged_and_not_handled_again(make_engine: Make) -> None:
    """The same ack again, marked as duplicate; one handling."""
    seen: list[str] = []

    def note(message: Message, context: Any) -> tuple[Outgoing, ...]:
        seen.append(message.text)
        return ()

    engine = make_engine({"note": note})
    message = engine.message("note", content="once")
    engine.submit(message)
    second = engine.submit(message)
    await engine.until(lambda: engine.asker.duplicates)
    await engine.settled()
    third = engine.submit(message)
    await engine.until(lambda: len(engine.asker.duplicates) == 2)
    assert engine.asker.duplicates == [second, third]
    assert seen == ["once"]


async def test_a_repeated_request_gets_the_reply_that_was_given(make_engine: Make) -> None:
    """A client that lost its connection asks again and gets the same answer."""
    engine = make_engine({"echo": echo})
    message = engine.message("echo", content="x")
    engine.submit(message)
    await engine.settled()
    assert engine.asker.replies == []
    engine.submit(message, wait=True)
    await engine.until(lambda: engine.asker.replies)
    assert engine.asker.replies[0].text == "x"


async def test_nothing_leaves_before_its_commit(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the journal cannot write: no ack and no reply, new messages are refused, reads work."""
    engine = make_engine({"echo": echo})
    journal = engine.shard.journal
    real = journal.commit
    broken = True

    def commit(batch: Any) -> None:
        if broken:
            raise StorageFull(store="shard-0", reason="the disk is full")
        real(batch)

    monkeypatch.setattr(journal, "commit", commit)
    engine.submit(engine.message("echo", content="x"), wait=True)
    router = engine.shard.router
    await engine.until(lambda: router.commit.failure)
    await engine.until(lambda: not journal.pending or router.counters.accepted == 2)
    refused = engine.submit(engine.message("echo"))
    await engine.until(lambda: engine.asker.refusals)
    assert engine.asker.refusals[refused].code == "STORAGE_FULL"
    assert engine.asker.acks == []
    assert engine.asker.replies == []
    assert engine.shard.view().accepted == 2
    broken = False
    await engine.until(lambda: engine.asker.replies)
    assert engine.asker.acks == [0]


async def test_an_unknown_receiver_gives_a_failure_that_names_who_is_near(
    make_engine: Make,
) -> None:
    """Accepted, then FAILURE to the sender and a dead letter; no FAILURE about the FAILURE."""
    engine = make_engine({"echo": echo})
    lost = make_message("request", sender=CLIENT, receiver=new_id(), content="x")
    engine.submit(lost, wait=True)
    await engine.until(lambda: engine.asker.replies)
    failure = engine.asker.replies[0]
    assert failure.performative is Performative.FAILURE
    assert json.loads(failure.content)["code"] == "AGENT_NOT_FOUND"
    await engine.settled()
    detail = engine.shard.conversations.detail(lost.conversation_id)
    assert [one.state for one in detail.messages] == ["dead", "handled"]
    assert engine.shard.view().dead_letters == 1
    assert engine.events[0][0] == "dead_letter"
    quiet = make_message("failure", sender=CLIENT, receiver=new_id(), content="x")
    engine.submit(quiet)
    await engine.settled()
    assert len(engine.texts(quiet.conversation_id)) == 1


async def test_a_capability_nobody_offers_names_what_is_offered(make_engine: Make) -> None:
    """The sender learns what there is."""
    engine = make_engine({"echo": echo, "weather": silent})
    asked = engine.message(capability="ecko")
    engine.submit(asked, wait=True)
    await engine.until(lambda: engine.asker.replies)
    told = json.loads(engine.asker.replies[0].content)
    assert told["code"] == "NO_CAPABILITY_PROVIDERS"
    assert "echo" in told["detail"]
    assert told["message_id"] == format_id(asked.message_id)


async def test_providers_share_work_and_conversations_stay(make_engine: Make) -> None:
    """Equal providers take turns over conversations; within one it is always the same."""
    engine = make_engine({"work-a": echo, "work-b": echo})
    for _ in range(4):
        conversation = new_id()
        for _ in range(3):
            asked = engine.message(capability="work", conversation_id=conversation, act="inform")
            engine.submit(asked)
            await engine.settled()
    handled = {row.name: row.handled for row in engine.shard.agents()}
    assert handled == {"work-a": 6, "work-b": 6}


async def test_a_failing_provider_loses_its_turns(make_engine: Make) -> None:
    """Health counts: after failures the other one serves new conversations."""

    def fails(message: Message, context: Any) -> tuple[Outgoing, ...]:
        raise ModelUnavailable(provider="p", kind="auth", reason="no")

    engine = make_engine({"work-a": fails, "work-b": echo})
    resolver = engine.shard.router.resolver
    engine.submit(engine.message("work-a"))
    await engine.until(lambda: resolver.score(agent_id("work-a")) <= 0.5)
    for _ in range(4):
        engine.submit(engine.message(capability="work"), wait=True)
    await engine.until(lambda: len(engine.asker.replies) == 4)
    assert {one.sender for one in engine.asker.replies} == {agent_id("work-b")}


async def test_a_receipt_is_sent_when_asked_for(make_engine: Make) -> None:
    """CONFIRM once the message was handled."""
    engine = make_engine({"note": silent})
    asked = engine.message("note", delivery_options=DeliveryOptions(require_receipt=True))
    engine.submit(asked, wait=True)
    await engine.until(lambda: engine.asker.replies)
    assert engine.asker.replies[0].performative is Performative.CONFIRM


async def test_too_many_participants_are_not_understood(make_engine: Make) -> None:
    """The act that would bring in one more is answered NOT_UNDERSTOOD and reaches nobody."""
    names = {f"a{number}": silent for number in range(4)}
    engine = make_engine(names, conversation_participants=3)
    conversation = new_id()
    for number in range(4):
        engine.submit(engine.message(f"a{number}", conversation_id=conversation, act="inform"))
        await engine.settled()
    acts = [act for act, _ in engine.texts(conversation)]
    assert acts.count("not-understood") == 2
    assert {row.name: row.handled for row in engine.shard.agents()} == {
        "a0": 1,
        "a1": 1,
        "a2": 0,
        "a3": 0,
    }


async def test_a_failing_handler_is_tried_again_and_then_buried(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """max_retries more tries with the count told, then FAILURE and a dead letter with traceback."""
    monkeypatch.setattr(Retries, "delay_s", lambda self, attempts: 0.001)
    counts: list[int] = []

    def fails(message: Message, context: Any) -> tuple[Outgoing, ...]:
        counts.append(context.delivery_count)
        raise RuntimeError("no luck")

    engine = make_engine({"bad": fails, "good": echo})
    asked = engine.message("bad", delivery_options=DeliveryOptions(max_retries=2))
    engine.submit(asked, wait=True)
    await engine.until(lambda: engine.asker.replies)
    assert counts == [1, 2, 3]
    told = json.loads(engine.asker.replies[0].content)
    assert told["code"] == "AGENT_FAILED"
    assert "no luck" in told["detail"]
    await engine.settled()
    letter = engine.shard.journal.dead(1)
    assert letter is not None
    assert "RuntimeError" in letter.traceback
    assert letter.attempts == 3
    row = next(one for one in engine.shard.agents() if one.name == "bad")
    await engine.until(lambda: engine.shard.roster.hosts[agent_id("bad")].restarts >= 1)
    assert row.failed == 3
    engine.submit(engine.message("good", content="still here"), wait=True)
    await engine.until(lambda: len(engine.asker.replies) == 2)


async def test_what_waits_beyond_the_window_keeps_its_order(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the window messages wait as objects, then as numbers read back from the journal."""
    monkeypatch.setattr(queues_module, "KEPT", 5)
    gate = asyncio.Event()
    seen: list[str] = []

    async def slow(message: Message, context: Any) -> tuple[Outgoing, ...]:
        await gate.wait()
        seen.append(message.text)
        return ()

    engine = make_engine({"slow": slow}, limits_agent_queue=2)
    conversation = new_id()
    engine.submit(
        *(
            engine.message("slow", content=str(n), conversation_id=conversation, act="inform")
            for n in range(40)
        )
    )
    delivery = engine.shard.router.delivery
    await engine.until(lambda: delivery.loads.waiting == 38)
    assert delivery.loads.depth(agent_id("slow")) == 40
    gate.set()
    await engine.settled()
    assert seen == [str(n) for n in range(40)]
    assert delivery.loads.waiting == 0


async def test_one_conversation_at_a_time_and_many_at_once(make_engine: Make) -> None:
    """Async handlers run side by side over conversations, one after the other within one."""
    running: set[bytes] = set()
    most = 0

    async def handler(message: Message, context: Any) -> tuple[Outgoing, ...]:
        nonlocal most
        assert message.conversation_id not in running
        running.add(message.conversation_id)
        most = max(most, len(running))
        for _ in range(3):
            await asyncio.sleep(0)
        running.discard(message.conversation_id)
        return ()

    engine = make_engine({"busy": handler})
    conversations = [new_id() for _ in range(20)]
    engine.submit(
        *(
            engine.message("busy", conversation_id=conversations[n % 20], act="inform")
            for n in range(100)
        )
    )
    await engine.settled()
    assert most == 8
    assert engine.shard.agents()[0].handled == 100


async def test_a_crash_repeats_what_was_not_handled_and_nothing_else(make_engine: Make) -> None:
    """Accepted and unhandled messages come again with a count above one; the rest is as it was."""
    gate = asyncio.Event()
    seen: list[tuple[str, int]] = []

    async def handler(message: Message, context: Any) -> tuple[Outgoing, ...]:
        seen.append((message.text, context.delivery_count))
        if message.text == "slow" and context.delivery_count == 1:
            await gate.wait()
        return reply(f"{message.text} done")

    engine = make_engine({"work": handler})
    fast = engine.message("work", content="fast")
    slow = engine.message("work", content="slow")
    engine.submit(fast)
    await engine.settled()
    before = engine.shard.conversations.detail(fast.conversation_id)
    engine.submit(slow)
    await engine.until(lambda: ("slow", 1) in seen and len(engine.asker.acks) == 2)
    await engine.crash()
    await engine.settled()
    assert seen == [("fast", 1), ("slow", 1), ("slow", 2)]
    after = engine.shard.conversations.detail(fast.conversation_id)
    assert after.messages == before.messages
    assert engine.texts(slow.conversation_id) == [("request", "slow"), ("inform", "slow done")]
    repeated = engine.submit(fast)
    await engine.until(lambda: engine.asker.duplicates == [repeated])


async def test_handling_twice_answers_once(make_engine: Make) -> None:
    """The reply of a second handling has the id of the first and is recognised."""
    engine = make_engine({"echo": echo})
    asked = engine.message("echo", content="x")
    engine.submit(asked)
    await engine.settled()
    router = engine.shard.router
    host = engine.shard.roster.hosts[agent_id("echo")]
    router.emit(host.outputs(asked, reply("x again")))
    await engine.settled()
    assert engine.texts(asked.conversation_id) == [("request", "x"), ("inform", "x")]


async def test_a_running_conversation_keeps_its_version(make_engine: Make) -> None:
    """New conversations use the new version, those that have begun the one they began with."""
    engine = make_engine({"echo": lambda message, context: reply("old")})
    running = new_id()
    engine.submit(engine.message("echo", conversation_id=running), wait=True)
    await engine.until(lambda: len(engine.asker.replies) == 1)
    engine.agents["echo"] = lambda message, context: reply("new")
    record = engine.shard.directory.agents[agent_id("echo")]
    changed = msgspec.structs.replace(
        record,
        revision=99,
        fingerprint="other",
        definition=msgspec.structs.replace(record.definition, version="2.0.0"),
    )
    engine.shard.registry_changed([changed])
    for conversation in (running, new_id()):
        engine.submit(engine.message("echo", conversation_id=conversation), wait=True)
        await engine.settled()
    await engine.until(lambda: len(engine.asker.replies) == 3)
    assert [one.text for one in engine.asker.replies] == ["old", "old", "new"]
    engine.shard.registry_changed([msgspec.structs.replace(changed, revision=100, removed=True)])
    await engine.until(lambda: agent_id("echo") not in engine.shard.roster.hosts)
    engine.submit(engine.message("echo"), wait=True)
    await engine.until(lambda: len(engine.asker.replies) == 4)
    assert engine.asker.replies[3].performative is Performative.FAILURE


async def test_agents_talk_to_each_other_by_capability(make_engine: Make) -> None:
    """A handler sends to another agent in the same conversation or in one of its own."""
    got: list[tuple[str, bool]] = []
    first = new_id()

    def asks(message: Message, context: Any) -> tuple[Outgoing, ...]:
        if message.performative is Performative.INFORM:
            return ()
        return (
            Outgoing(Performative.INFORM, b"same", capability="listen"),
            Outgoing(Performative.INFORM, b"own", capability="listen", new_conversation=True),
        )

    def listens(message: Message, context: Any) -> tuple[Outgoing, ...]:
        got.append((message.text, message.conversation_id == first))
        return ()

    engine = make_engine({"ask": asks, "listen": listens})
    engine.submit(engine.message("ask", conversation_id=first))
    await engine.settled()
    assert sorted(got) == [("own", False), ("same", True)]


async def test_the_history_of_a_message_is_what_came_before_it(make_engine: Make) -> None:
    """Oldest first, without the message itself."""
    told: list[list[str]] = []

    async def remembers(message: Message, context: Any) -> tuple[Outgoing, ...]:
        told.append([one.text for one in await context.history(10)])
        assert context.name_of(CLIENT) == "client"
        assert (context.agent_name, context.agent_id) == ("mind", agent_id("mind"))
        return reply(f"re {message.text}")

    engine = make_engine({"mind": remembers})
    conversation = new_id()
    for text in ("a", "b"):
        engine.submit(engine.message("mind", content=text, conversation_id=conversation))
        await engine.settled()
    assert told == [[], ["a", "re a"]]


async def test_questions_are_answered_with_plain_values(make_engine: Make) -> None:
    """What other processes ask; an unknown question is an error, not a silence."""
    engine = make_engine({"echo": echo})
    asked = engine.message("echo", content="x")
    engine.submit(asked)
    await engine.settled()
    shard = engine.shard
    key = format_id(asked.conversation_id)
    assert (await shard.answer("stats", {}))["handled"] == 2
    assert (await shard.answer("agents", {}))[0]["name"] == "echo"
    listed = await shard.answer("conversations", {"limit": 5})
    assert [one["id"] for one in listed] == [key]
    shown = await shard.answer("conversation", {"id": key, "limit": 10, "before": 0})
    assert [one["receiver_name"] for one in shown["messages"]] == ["echo", "client"]
    raws = await shard.answer("history", {"id": key, "before": b"", "limit": 1})
    assert len(raws) == 1
    with pytest.raises(ConversationNotFound):
        await shard.answer("conversation", {"id": format_id(new_id()), "limit": 10, "before": 0})
    with pytest.raises(InternalError):
        await shard.answer("weather", {})


async def test_idle_conversations_leave_memory_and_come_back(make_engine: Make) -> None:
    """Passivated beyond the limit, ended after their timeout; their messages stay readable."""
    engine = make_engine({"note": silent}, conversation_active=100)
    keys = []
    for n in range(150):
        message = engine.message("note", content=str(n), act="inform")
        keys.append(message.conversation_id)
        engine.submit(message)
        await engine.settled()
    open_ones = engine.shard.router.conversations
    assert len(open_ones) <= 100
    assert engine.texts(keys[0]) == [("inform", "0")]
    engine.submit(engine.message("note", content="again", conversation_id=keys[0], act="inform"))
    await engine.settled()
    assert engine.texts(keys[0]) == [("inform", "0"), ("inform", "again")]
    assert len(engine.shard.conversations.newest(500)) == 150
    before = len(open_ones)
    later = engine.shard.router.now_ms() + 10_000_000
    engine.shard.router.now_ms = lambda: later
    ended = open_ones.expire()
    assert ended >= before - 64
    assert len(open_ones) == before - ended
    assert engine.shard.conversations.newest(500)[-1].state == "ended"


async def test_long_conversations_move_their_history_to_chunks(make_engine: Make) -> None:
    """Every message of a long conversation is still listed, in order."""
    engine = make_engine({"note": silent})
    conversation = new_id()
    for start in range(0, 600, 50):
        engine.submit(
            *(
                engine.message("note", content=str(n), conversation_id=conversation, act="inform")
                for n in range(start, start + 50)
            )
        )
        await engine.settled()
    expected = [("inform", str(n)) for n in range(600)]
    assert engine.texts(conversation) == expected
    await engine.crash()
    assert engine.texts(conversation) == expected


async def test_conversations_go_when_nothing_of_them_is_kept(make_engine: Make) -> None:
    """Their record and history are removed once the journal has dropped their messages."""
    engine = make_engine({"note": silent}, storage_keep_messages=1_000)
    conversation = new_id()
    many = [engine.message("note", conversation_id=conversation, act="inform") for _ in range(300)]
    engine.submit(*many)
    await engine.settled()
    for _ in range(80):
        engine.submit(*(engine.message("note", act="inform") for _ in range(20)))
        await engine.settled()
    journal, known = engine.shard.journal, engine.shard.router.conversations
    assert journal.first_kept > 300
    assert known.sweep() == 0
    later = engine.shard.router.now_ms() + 10_000_000
    engine.shard.router.now_ms = lambda: later
    known.expire()
    assert journal.conversation(conversation) is not None
    for _ in range(40):
        known.sweep()
        engine.submit(engine.message("note", act="inform"))
        await engine.settled()
    assert journal.conversation(conversation) is None
    assert journal.history(conversation) == []
    kept = [record for _, record in known.stored(5_000)]
    assert kept
    assert all(record.last_sequence >= journal.first_kept - 700 for record in kept)


def test_recent_ids_are_bounded_and_never_forget_the_newest() -> None:
    """Two generations: at least the window is known, at most twice of it."""
    recent = RecentIds(100)
    ids = [new_id() for _ in range(1_000)]
    for one in ids:
        recent.add(one)
    assert all(one in recent for one in ids[-100:])
    assert ids[0] not in recent
    assert len(recent) <= 200


async def test_messages_that_wait_for_a_slow_start_are_handled_once_and_in_order(
    make_engine: Make,
) -> None:
    """The end of one makes room for others while the next one is begun."""
    handled: list[str] = []

    def work(message: Message, context: Any) -> tuple[Outgoing, ...]:
        handled.append(message.text)
        return reply("done")

    engine = make_engine({"work": work}, limits_agent_queue=10)
    conversation = new_id()
    texts = [str(number) for number in range(200)]
    engine.submit(
        *(engine.message("work", content=one, conversation_id=conversation) for one in texts)
    )
    await engine.settled()
    assert handled == texts
