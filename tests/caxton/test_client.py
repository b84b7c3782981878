"""Both clients against a real server over a real socket."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from fake_entry import agent_id, agent_view, event
from serving import Serving

from caxton.client import AsyncClient, Client, draft
from caxton.errors import (
    AgentNotFound,
    ConversationNotFound,
    MessageTooLarge,
    NodeNotReady,
    NodeUnreachable,
    Timeout,
    ValidationError,
)
from caxton.message import Performative, make_message
from caxton.types import format_id, new_id
from caxton.views import Ack


@pytest.fixture
def node() -> Iterator[Serving]:
    with Serving() as serving:
        yield serving


def free_port() -> int:
    """A port nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_message_is_sent_once_and_known_again(node) -> None:
    """A message gets its ack; the same id again is a duplicate."""
    with Client(node.url) as client:
        identity, place = new_id(), new_id()
        sent = [
            client.send("hi", to="Greeter", message_id=identity, conversation_id=place)
            for _ in range(2)
        ]
    assert [one.duplicate for one in sent] == [False, True]
    (message,) = node.entry.taken.values()
    assert (message.message_id, message.conversation_id) == (identity, place)
    assert (message.receiver, message.performative) == (agent_id("Greeter"), Performative.INFORM)


@pytest.mark.parametrize("content", ["", "héllo", b"\xff\x00", "{}", "a" * 9_000])
def test_content_arrives_as_it_was(node, content) -> None:
    """Text and bytes come through both ways unchanged."""
    data = content.encode() if isinstance(content, str) else content
    with Client(node.url) as client:
        reply = client.request(content, to="Greeter")
    assert reply.content == data
    assert next(iter(node.entry.taken.values())).content == data
    assert reply.sender_name == "Greeter"
    assert reply.ack.durability == "disk"


def test_errors_are_those_of_the_node(node) -> None:
    """Each error comes back as its class, with its values and its text."""
    with Client(node.url) as client:
        with pytest.raises(AgentNotFound, match="near: Greeter") as missing:
            client.send("hi", to="Nobody")
        assert missing.value.fields["agent"] == "Nobody"
        assert len(str(missing.value.fields["trace_id"])) == 32
        with pytest.raises(ValidationError) as wrong:
            client.send("hi", to="Greeter", performative="shout")
        assert wrong.value.fields["field"] == "performative"
        with pytest.raises(MessageTooLarge):
            client.send("x" * 10_001, to="Greeter")
        with pytest.raises(ConversationNotFound):
            client.conversation(new_id())
        with pytest.raises(AgentNotFound):
            client.agent("No/body")


def test_body_over_the_limit_hears_why(node) -> None:
    """A body that is refused unread still gets its problem, not a reset connection."""
    with Client(node.url) as client, pytest.raises(MessageTooLarge):
        client.send("x" * 8_000_000, to="Greeter")


def test_no_reply_in_time(node) -> None:
    """A timeout names the message and its conversation."""
    node.entry.silent = True
    with Client(node.url) as client, pytest.raises(Timeout) as caught:
        client.request("hi", to="Greeter", timeout_ms=1_000)
    (message,) = node.entry.taken.values()
    assert caught.value.fields["message_id"] == format_id(message.message_id)


def test_many_messages(node) -> None:
    """Thousands of messages, as drafts or as messages, have their outcomes in order."""
    bodies = [draft(str(number), to="Greeter") for number in range(1_500)]
    more = [make_message("inform", sender=new_id(), capability="x") for _ in range(700)]
    with Client(node.url) as client:
        outcomes = client.send_many([*bodies, *more])
    ids = [one.message_id for one in outcomes if isinstance(one, Ack)]
    assert ids == [one["message_id"] for one in bodies] + [format_id(m.message_id) for m in more]
    assert node.entry.submissions == [1_000, 1_000, 200]


def test_part_that_restarts_is_waited_for(node) -> None:
    """NODE_NOT_READY is tried again, and the message is taken once."""
    node.entry.refusals = [NodeNotReady(part="shard 0")]
    with Client(node.url) as client:
        client.health()
        assert not client.send("hi", to="Greeter").duplicate
    assert len(node.entry.taken) == 1


def test_reading(node) -> None:
    """Agents, conversations, the node and its probes."""
    node.entry.views = [agent_view(f"a{number:04}") for number in range(1_200)]
    with Client(node.url) as client:
        assert len(client.agents()) == 1_200
        assert client.agents(state="failed") == []
        assert [one.name for one in client.agents(capability="a0007")] == ["a0007"]
        assert client.agent("A0001").name == "a0001"
        acks = [client.send("hi", capability="x") for _ in range(3)]
        ids = [one.conversation_id for one in acks]
        assert [one.id for one in client.conversations()] == ids[::-1]
        assert [one.id for one in client.conversations(2)] == ids[:0:-1]
        assert client.conversation(ids[0]).messages[0].message["content"] == "hi"
        assert client.node().state == "ready"
        assert client.health().status == "healthy"
        assert client.ready().status == "ready"
        node.entry.state = "draining"
        assert client.ready().status == "draining"


# --- nobody there ----------------------------------------------------------------------------


def test_nobody_there_is_told_at_once() -> None:
    """Without a node every call is NODE_UNREACHABLE, with the address."""
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url) as client:
        for call in (
            lambda: client.send("hi", to="x"),
            lambda: client.request("hi", to="x"),
            lambda: client.send_many([draft(to="x")]),
            client.agents,
            client.ready,
            lambda: next(iter(client.events())),
        ):
            with pytest.raises(NodeUnreachable, match=url):
                call()


def test_something_else_there_is_told() -> None:
    """A server that does not answer in time is a timeout; the client's time is kept."""
    with closing(socket.create_server(("127.0.0.1", 0))) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with Client(url, timeout=0.05) as client, pytest.raises(Timeout, match="answer from"):
            client.node()


@pytest.mark.parametrize(
    "url", ["", "node", "ftp://x", "http://", "http://x:99999", "http://x:0", "http://[", "//x"]
)
def test_bad_address_is_refused(url) -> None:
    """What is no URL of a node is refused before anything is tried."""
    for kind in (Client, AsyncClient):
        with pytest.raises(ValidationError):
            kind(url)


def test_restarted_node_gets_the_message_once() -> None:
    """A node that goes away and comes back takes what was sent meanwhile, once."""
    with Serving(drain_s=1) as first, Client(first.url) as client:
        client.health()
        first.stop()
        second = Serving(first.entry, port=first.port)
        starting = threading.Timer(0.1, second.__enter__)
        starting.start()
        try:
            assert not client.send("hi", to="Greeter").duplicate
        finally:
            starting.join()
            second.stop()
    assert len(first.entry.taken) == 1


def test_reply_of_a_node_that_restarts_is_found() -> None:
    """The reply to a request that a restart cut off is found in its conversation."""
    with Serving(drain_s=1) as first, Client(first.url) as client:
        entry = first.entry
        entry.hold = first.run(asyncio.Event)
        taken = threading.Event()
        entry.on_submit = taken.set
        second = []

        def restart() -> None:
            assert taken.wait(5)
            first.stop()
            entry.hold = None
            entry.answer(next(iter(entry.taken.values())))
            second.append(Serving(entry, port=first.port).__enter__())

        watcher = threading.Thread(target=restart)
        watcher.start()
        try:
            reply = client.request("hi", to="Greeter", timeout_ms=20_000)
        finally:
            watcher.join()
            second[0].stop()
    assert (reply.text, reply.ack.duplicate) == ("hi", True)


# --- events ----------------------------------------------------------------------------------


def test_events_follow_over_lags_and_restarts() -> None:
    """Events come once each, over a cut stream and over a restart of the node."""
    with Serving(drain_s=1) as first, Client(first.url) as client:
        entry = first.entry
        entry.live = first.run(asyncio.Queue)
        events = client.events()
        assert [next(events).id for _ in range(3)] == [1, 2, 3]
        first.run(lambda: entry.live and entry.live.put_nowait(None))
        entry.kept.append(event(4))
        assert next(events).id == 4
        first.stop()
        entry.kept = [event(1, "node.started")]
        entry.live = None
        with Serving(entry, port=first.port):
            assert next(events).type == "node.started"
            events.close()


def test_events_after_and_by_type(node) -> None:
    """A place to start and types are the node's to choose by."""
    with Client(node.url) as client:
        events = client.events(after=1, types=["agent."])
        assert next(events).id == 3
        events.close()
        with pytest.raises(ValidationError):
            next(client.events(types=["BAD TYPE"]))


def test_events_end_when_the_client_is_closed(node) -> None:
    """Closing the client ends its iterators, without an error."""
    node.entry.live = node.run(asyncio.Queue)
    client = Client(node.url)
    events = client.events()
    assert [next(events).id for _ in range(3)] == [1, 2, 3]
    client.close()
    assert list(events) == []
    with pytest.raises(NodeUnreachable, match="closed"):
        client.node()


# --- asyncio ---------------------------------------------------------------------------------


async def test_async_client_does_the_same(node) -> None:
    """AsyncClient has the methods of Client, awaited."""
    async with AsyncClient(node.url) as client:
        ack = await client.send("hi", to="Greeter")
        assert (await client.request("ho", to="Greeter")).text == "ho"
        node.entry.refusals = [NodeNotReady(part="shard 0")]
        outcomes = await client.send_many([draft("x", to="Greeter")] * 2)
        assert all(isinstance(one, Ack) for one in outcomes)
        assert [one.name for one in await client.agents()] == ["Analyst", "Greeter"]
        assert (await client.agent("greeter")).name == "Greeter"
        assert len(await client.conversations(1)) == 1
        assert (await client.conversation(ack.conversation_id)).messages
        assert (await client.node()).state == "ready"
        assert (await client.health()).status == "healthy"
        assert (await client.ready()).status == "ready"
        with pytest.raises(AgentNotFound):
            await client.agent("Nobody")
        with pytest.raises(ValidationError):
            await anext(client.events(types=["BAD"]))


async def test_async_events(node) -> None:
    """Events come to an async iterator, over a cut stream too, until the client is closed."""
    node.entry.live = node.run(asyncio.Queue)
    client = AsyncClient(node.url)
    events = client.events()
    assert [(await anext(events)).id for _ in range(3)] == [1, 2, 3]
    live = node.entry.live
    node.run(lambda: live.put_nowait(None))
    node.entry.kept.append(event(4))
    assert (await anext(events)).id == 4
    await client.close()
    assert [one async for one in events] == []
    with pytest.raises(NodeUnreachable, match="closed"):
        await client.node()


async def test_async_client_without_a_node() -> None:
    """Without a node it is NODE_UNREACHABLE."""
    async with AsyncClient(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(NodeUnreachable):
            await client.node()
        with pytest.raises(NodeUnreachable):
            await anext(client.events())


def test_importing_the_client_is_light() -> None:
    """The import brings no server, no HTTP library and no terminal library with it."""
    code = (
        "import sys, caxton.client;"
        "heavy = {'starlette', 'uvicorn', 'httpx2', 'rich', 'click', 'prometheus_client', 'pykka'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
