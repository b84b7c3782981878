"""The whole product as a user meets it: real processes, real files, real HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest_process import RunningNode, lives, serving_llm, until

from caxton.client import AsyncClient, Client
from caxton.errors import CaxtonError

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

Start = Callable[..., RunningNode]

RECORDER = """---
name: Recorder
capabilities: [recording]
python: recorder:Recorder
---
Writes down what it handles.
"""
RECORDER_CODE = """
import os
from pathlib import Path

from caxton import Agent

FILE = os.open(Path(__file__).parent.parent / "handled.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


class Recorder(Agent):
    def handle(self, message, context):
        os.write(FILE, f"{os.getpid()} {message.message_id.hex()}\\n".encode())
        return None
"""


def test_every_command_of_the_readme_does_what_it_says(start_node: Start) -> None:
    """send, agent ls, conversation ls and show, monitor, status, doctor and stop work on a node."""
    node = start_node("--shards", "2")
    answer = node.caxton(
        *("send", "--capability", "data-analysis", "mean of price in examples/data/sales.csv")
    )
    assert "42.5" in answer.stdout
    assert "no language model" in answer.stdout
    who = node.caxton("send", "--to", "Greeter", "--performative", "query-ref", "who are you?")
    assert "I am Greeter" in who.stdout
    rows = json.loads(node.caxton("--json", "agent", "ls").stdout)["items"]
    assert {row["name"]: row["kind"] for row in rows} == {
        "Counter": "wasm",
        "DataAnalyst": "config",
        "Echo": "python",
        "Greeter": "config",
    }
    listed = node.caxton("agent", "ls").stdout
    assert "MAILBOX" in listed
    assert "data-analysis" in listed
    talks = json.loads(node.caxton("--json", "conversation", "ls").stdout)["items"]
    assert len(talks) == 2
    shown = node.caxton("conversation", "show", talks[-1]["id"]).stdout
    assert shown.index("REQUEST") < shown.index("INFORM")
    assert "42.5" in shown
    assert "DataAnalyst" in node.caxton("monitor", "--once").stdout
    assert "shard-1" in node.caxton("status").stdout
    doctor = json.loads(node.caxton("--json", "doctor").stdout)
    assert "csv_parser" in json.dumps(doctor)
    family = node.family()
    node.caxton("stop")
    assert node.end() == 0
    assert not any(lives(process) for process in family)
    assert list((node.data / "run").glob("*.sock")) == []
    node.caxton("status", code=3)


@pytest.mark.alone
def test_a_saved_file_shows_in_the_next_answer_and_a_broken_one_changes_nothing(
    start_node: Start,
) -> None:
    """A change is in service within 500 ms of the write; a broken file names line and column."""
    node = start_node("--shards", "2")
    greeter = node.agents / "Greeter.md"
    text = greeter.read_text()
    with Client(node.url) as client:
        assert "warmly" in client.request("who are you?", to="Greeter").text
        greeter.write_text(text.replace("warmly", "grimly"))
        written = time.monotonic()
        until(lambda: "grimly" in client.request("who are you?", to="Greeter").text, "a reload")
        assert time.monotonic() - written < 0.5
        greeter.write_text(text.replace("name: Greeter", "name: [Greeter"))
        broken = until(
            lambda: [
                one
                for one in client.agents()
                if one.name == "Greeter" and one.reload.state == "failed"
            ],
            "a failed reload",
        )
        assert isinstance(broken, list)
        assert broken[0].reload.line > 1
        assert "grimly" in client.request("who are you?", to="Greeter").text
    listed = node.caxton("agent", "ls").stdout
    assert f"Greeter.md:{broken[0].reload.line}:" in listed
    log = (node.data / "logs" / "caxton.log").read_text()
    assert f"Greeter.md:{broken[0].reload.line}:" in log
    assert node.end() == 0


async def flood(url: str, count: int, node: RunningNode, kills: int) -> dict[str, bool]:
    """Send ``count`` messages while shards are killed ``kills`` times; what was acked."""
    rng = random.Random(20_000)
    print("seed 20000")
    acked: dict[str, bool] = {}
    refused: list[CaxtonError] = []
    sent = 0
    async with AsyncClient(url, timeout=60, retry=60) as client:

        async def batch(size: int) -> None:
            nonlocal sent
            messages = [
                {"performative": "inform", "capability": "recording", "content": "x"}
                for _ in range(size)
            ]
            for outcome in await client.send_many(messages):
                if isinstance(outcome, CaxtonError):
                    refused.append(outcome)
                else:
                    acked[outcome.message_id.replace("-", "")] = outcome.duplicate
            sent += size

        async def killer() -> None:
            for number in range(kills):
                threshold = count * (number + 1) // (kills + 2)
                while sent < threshold:
                    await asyncio.sleep(0.005)
                view = await client.node()
                shards = [p for p in view.processes if p.name.startswith("shard-")]
                victim = rng.choice(shards)
                os.kill(victim.pid, signal.SIGKILL)
                while True:
                    view = await client.node()
                    again = next(p for p in view.processes if p.name == victim.name)
                    if again.pid != victim.pid and again.state == "ready":
                        break
                    await asyncio.sleep(0.02)

        async def sender(share: int) -> None:
            for _ in range(share // 200):
                await batch(200)

        await asyncio.gather(killer(), *(sender(count // 4) for _ in range(4)))
    assert refused == []
    assert sent == count
    return acked


def test_no_acknowledged_message_is_lost_when_shards_are_killed(start_node: Start) -> None:
    """20,000 messages, three SIGKILLs: each acked one is handled, none twice in one process."""
    first = start_node("--shards", "2")
    (first.agents / "recorder.py").write_text(RECORDER_CODE)
    (first.agents / "Recorder.md").write_text(RECORDER)
    with Client(first.url) as client:
        until(lambda: [a for a in client.agents() if a.name == "Recorder"], "the new agent")
    acked = asyncio.run(flood(first.url, 20_000, first, kills=3))
    assert len(acked) == 20_000
    record = first.folder / "examples" / "handled.txt"

    def handled() -> set[str]:
        return {line.split()[1] for line in record.read_text().splitlines()}

    until(lambda: handled() >= set(acked), "the handling of every acked message", 60)
    lines = Counter(record.read_text().splitlines())
    assert [line for line, times in lines.items() if times > 1] == []
    with Client(first.url) as client:
        view = client.node()
        assert sum(process.restarts for process in view.processes) == 3
        assert sum(shard.dead_letters for shard in view.shards) == 0
    assert first.end(signal.SIGINT) == 0


def test_a_killed_node_takes_up_where_it_was(start_node: Start) -> None:
    """After SIGKILL of the supervisor nothing stays behind; a new start has the conversations."""
    node = start_node("--shards", "2")
    with Client(node.url) as client:
        reply = client.request("remember me", to="Echo")
        before = client.conversation(reply.ack.conversation_id)
    family = node.family()
    node.process.kill()
    node.process.wait(10)
    until(lambda: not any(lives(p) for p in family), "the end of the orphans", 30)
    again = start_node("--shards", "2")
    with Client(again.url) as client:
        after = client.conversation(reply.ack.conversation_id)
        assert [m.message for m in after.messages] == [m.message for m in before.messages]
        assert after.conversation.participants == before.conversation.participants
        assert len(client.agents()) == 4
        assert client.request("and now?", to="Echo").text == "and now?"
    assert again.end() == 0


def test_a_second_node_on_the_same_folder_is_refused(start_node: Start, tmp_path: Path) -> None:
    """Started twice on one data folder: a clear error that names the running pid."""
    node = start_node("--shards", "1")
    refused = node.caxton("serve", "--agents", str(node.agents), "--port", "0", code=78)
    assert f"pid {node.process.pid} already runs" in refused.stderr
    assert node.end() == 0


def test_an_openai_compatible_server_drives_the_tool(start_node: Start) -> None:
    """With OPENAI_BASE_URL the openai provider calls the tool in the sandbox and reports it."""
    from stub_llm import Reply

    arguments = {"path": "examples/data/sales.csv", "operation": "mean", "column": "price"}
    call = Reply(calls=[("csv_parser", arguments)], finish="tool_calls")
    with serving_llm(call, "It costs what the tool says.") as (url, requests):
        node = start_node("--shards", "1", OPENAI_BASE_URL=url, OPENAI_API_KEY="sk-secret-1234")
        assert node.ready["provider"] == "openai"
        answer = node.caxton("send", "--capability", "data-analysis", "what is the mean price?")
        assert "It costs what the tool says." in answer.stdout
        assert len(requests) == 2
        assert '"value":42.5' in json.dumps(requests[1]).replace("\\", "").replace(" ", "")
        assert node.end() == 0
    for path in node.data.rglob("*"):
        if path.is_file():
            assert b"sk-secret-1234" not in path.read_bytes(), path
