from __future__ import annotations

import io
from pathlib import Path

import pytest
from fake_node import BROKEN, FIRST, OTHER, SECOND, a_conversation, a_detail, a_node, an_agent

from caxton.cli.node_client import NodeClient
from caxton.errors import (
    AgentNotFound,
    CaxtonError,
    InternalError,
    InvalidState,
    NodeNotReady,
    NotAuthorized,
    QueueFull,
    Timeout,
    ValidationError,
)
from caxton.views import ProcessView, ShardView


@pytest.fixture
def many(fake):
    fake.agents = [
        an_agent("Greeter", handled=12, mailbox=3),
        an_agent(
            "Billing",
            reload=BROKEN,
            failed=2,
            capabilities=("invoicing", "payments"),
            description="Sends invoices.",
        ),
        an_agent("Scraper", kind="wasm", state="failed", mailbox=640, capabilities=("scraping",)),
    ]
    return fake


# --- where the node is -----------------------------------------------------------------------


def test_no_node_known_is_3(run) -> None:
    """Without any address the exit code is 3 and the text says where was looked."""
    done = run("agent", "ls")
    assert done.code == 3
    assert "caxton-data" in done.err
    assert done.err.rstrip().endswith("(NODE_UNREACHABLE)")


def test_no_answer_is_3(run, fake) -> None:
    """A node that is gone is exit code 3."""
    fake.close()
    assert run("status", "--url", fake.url).code == 3


def test_a_silent_node_is_8(run, fake) -> None:
    """A node that does not answer within --timeout is exit code 8."""
    fake.silent.set()
    done = run("status", "--url", fake.url, "--timeout", "100ms")
    assert done.code == 8
    assert "100 ms" in done.err


def test_the_node_is_found_by_flag_variable_or_announcement(
    run, fake, monkeypatch, tmp_path
) -> None:
    """--url wins over --data, --data over CAXTON_URL, and that over the default data folder."""
    folder = tmp_path / "data"
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "node.json").write_text(f'{{"pid": 1, "url": "{fake.url}/"}}')
    assert run("agent", "ls", "--url", fake.url).code == 0
    assert run("--data", str(folder), "agent", "ls").code == 0
    monkeypatch.setenv("CAXTON_URL", "http://127.0.0.1:1")
    assert run("agent", "ls").code == 3
    assert run("agent", "ls", "--data", str(folder)).code == 0
    assert run("agent", "ls", "--url", fake.url).code == 0
    monkeypatch.setenv("CAXTON_URL", fake.url)
    assert run("agent", "ls").code == 0
    monkeypatch.delenv("CAXTON_URL")
    monkeypatch.setenv("CAXTON_DATA", str(folder))
    assert run("agent", "ls").code == 0


def test_an_unreadable_announcement_is_none(run, tmp_path) -> None:
    """A damaged node.json is as good as none."""
    (tmp_path / "caxton-data" / "run").mkdir(parents=True)
    (tmp_path / "caxton-data" / "run" / "node.json").write_text("{")
    assert run("agent", "ls").code == 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AgentNotFound(agent="x", near=""), 4),
        (ValidationError(field="a", value="b", allowed="c"), 5),
        (InvalidState(agent="x", current="a", wanted="b"), 6),
        (NotAuthorized(who="you", action="look"), 7),
        (Timeout(what="answer", timeout_ms=1), 8),
        (NodeNotReady(part="shard 0"), 3),
        (QueueFull(queue="q", depth=1, limit=1), 1),
        (InternalError(reason="r"), 1),
    ],
    ids=lambda value: value.code if isinstance(value, CaxtonError) else str(value),
)
def test_each_error_has_its_exit_code(error: CaxtonError, code: int, run, fake) -> None:
    """What the node refuses is told in three lines, or as an object, with its exit code."""
    fake.refusal = error
    done = run("status", "--url", fake.url)
    assert done.code == code
    assert done.out == ""
    lines = done.err.splitlines()
    assert len(lines) == 3
    assert lines[0] == f"error: {error.detail}"
    assert lines[2].endswith(f"({error.code})")
    as_json = run("status", "--url", fake.url, "--json")
    assert as_json.code == code
    assert as_json.problem["code"] == error.code
    assert as_json.problem["remedy"] == error.remedy


def test_an_error_on_a_terminal_is_the_same_three_lines(run_wide) -> None:
    """On a terminal the error has colour and the same words; --no-color takes it away."""
    done = run_wide(80, "agent", "ls")
    assert "\x1b[" in done.err
    plain = run_wide(80, "agent", "ls", "--no-color")
    assert "\x1b[" not in plain.err
    assert plain.err.startswith("error: no node answers")


# --- agents ----------------------------------------------------------------------------------


def test_agents_are_listed_in_full_in_a_pipe(run, many) -> None:
    """In a pipe every column is there, uncut, and a failed reload names file, line, column."""
    done = run("agent", "ls", "--url", many.url)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == [
        "NAME", "KIND", "STATE", "VERSION", "CAPABILITIES", "SHARD", "MAILBOX", "HANDLED",
        "FAILED", "RELOAD",
    ]  # fmt: skip
    assert "FAILED Billing.md:7:3 `tool`: unknown key" in done.out
    assert "invoicing,payments" in done.out
    assert "640/1000" in done.out
    assert "\x1b" not in done.out


def test_agents_fit_80_columns(run_wide, many, monkeypatch) -> None:
    """At 80 columns no line is longer, and the place of the failed reload is in its line."""
    done = run_wide(80, "agent", "ls", "--url", many.url, "--no-color")
    lines = done.out.splitlines()
    assert all(len(line) <= 80 for line in lines[:3])
    billing = next(line for line in lines if line.startswith("Billing"))
    assert billing.endswith("FAILED 7:3")
    assert "Billing.md:7:3 `tool`: unknown key" in done.out
    assert "STATE" in lines[0]


def test_agents_show_more_at_120_columns(run_wide, many) -> None:
    """With 120 columns nothing is left out."""
    wide = run_wide(120, "agent", "ls", "--url", many.url, "--no-color")
    narrow = run_wide(80, "agent", "ls", "--url", many.url, "--no-color")
    assert "SHARD" in wide.out.splitlines()[0]
    assert "SHARD" not in narrow.out.splitlines()[0]


def test_colour_on_a_terminal_only(run_wide, many, monkeypatch) -> None:
    """Colour is for terminals, and NO_COLOR and --no-color switch it off."""
    assert "\x1b[" in run_wide(120, "agent", "ls", "--url", many.url).out
    assert "\x1b[" not in run_wide(120, "agent", "ls", "--url", many.url, "--no-color").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run_wide(120, "agent", "ls", "--url", many.url).out


def test_agents_in_every_format(run, many) -> None:
    """json is one object with items, jsonl a line each, name only names, yaml a document."""
    items = run("agent", "ls", "--url", many.url, "--json").json
    assert [item["name"] for item in items["items"]] == ["Greeter", "Billing", "Scraper"]
    assert items["next_page_token"] == ""
    assert len(run("agent", "ls", "--url", many.url, "-o", "jsonl").out.splitlines()) == 3
    assert run("agent", "ls", "--url", many.url, "-o", "name").out.split() == [
        "Greeter", "Billing", "Scraper",
    ]  # fmt: skip
    assert "- id: id-of-Greeter" in run("agent", "ls", "--url", many.url, "-o", "yaml").out


def test_agents_are_filtered(run, many) -> None:
    """--state and --capability leave out the others; none left is said, and no error."""
    url = ("--url", many.url)
    assert run("agent", "ls", *url, "--state", "failed", "-o", "name").out.split() == ["Scraper"]
    named = run("agent", "ls", *url, "--capability", "payments", "-o", "name")
    assert named.out.split() == ["Billing"]
    none = run("agent", "ls", *url, "--capability", "flying")
    assert none.code == 0
    assert "no agents" in none.err
    assert run("agent", "ls", *url, "--capability", "flying", "-q").err == ""


def test_one_agent_is_shown(run, many) -> None:
    """``agent show`` has all facts; the formats for programs have the view."""
    url = ("--url", many.url)
    done = run("agent", "show", "Billing", *url)
    assert "FAILED Billing.md:7:3" in done.out
    assert "Sends invoices." in done.out
    assert run("agent", "show", "Billing", *url, "--json").json["reload"]["line"] == 7
    assert run("agent", "show", "Billing", *url, "-o", "name").out == "Billing\n"
    assert run("agent", "show", "Nobody", *url).code == 4
    assert run("agent", "show", "no/body?x", *url).code == 4


def test_warnings_and_reloads_of_an_agent_are_shown(run, fake) -> None:
    """The warnings of the agent's file stand below its facts."""
    reload = type(BROKEN)(state="reloaded", took_ms=12.4, warnings=("Greeter.md:2:1 odd",))
    fake.agents = [an_agent(reload=reload)]
    done = run("agent", "show", "Greeter", "--url", fake.url)
    assert "ok 12 ms" in done.out
    assert "Greeter.md:2:1 odd" in done.out


def test_control_characters_do_not_reach_a_terminal(run_wide, fake) -> None:
    """What agents say of themselves cannot command the terminal."""
    fake.agents = [an_agent(description="\x1b[2J\x07gone")]
    done = run_wide(80, "agent", "show", "Greeter", "--url", fake.url, "--no-color")
    assert "\x1b" not in done.out
    assert "?[2J?gone" in done.out


# --- agent files -----------------------------------------------------------------------------

GOOD = "---\nname: Good\ncapabilities: [things]\n---\nYou are good.\n"
BAD = "---\nname: 7\nllm:\n  temperature: 9\n---\nHello.\n"


def test_files_are_validated_with_every_place(run, tmp_path) -> None:
    """All errors of all files are told as FILE:LINE:COLUMN; the exit code is 5."""
    (tmp_path / "good.md").write_text(GOOD)
    assert run("agent", "validate", "good.md").code == 0
    (tmp_path / "bad.md").write_text(BAD)
    done = run("agent", "validate", ".")
    assert done.code == 5
    assert "bad.md:2:" in done.out
    assert "bad.md:4:" in done.out
    assert "2 agent files, 1 valid, 1 with errors" in done.err


def test_validation_as_json(run, tmp_path) -> None:
    """Programs get one item for each file with its findings."""
    (tmp_path / "bad.md").write_text(BAD)
    items = run("agent", "validate", "bad.md", "--json").json["items"]
    assert items[0]["valid"] is False
    assert {f["line"] for f in items[0]["findings"]} >= {2, 4}
    assert len(run("agent", "validate", "bad.md", "-o", "jsonl").out.splitlines()) == 1


def test_validation_of_what_is_no_file(run, tmp_path) -> None:
    """A missing path is 4; hidden files are left out; a device is no agent file."""
    assert run("agent", "validate", "missing.md").code == 4
    (tmp_path / ".hidden.md").write_text(BAD)
    assert run("agent", "validate", ".").code == 0
    done = run("agent", "validate", "/dev/null")
    assert done.code == 5
    assert "not a regular file" in done.out


def test_validation_shows_warnings(run, tmp_path) -> None:
    """A warning is told and does not fail the file."""
    (tmp_path / "odd.md").write_text("---\nname: Odd\ntoools: [x]\n---\nHello.\n")
    done = run("agent", "validate", "odd.md")
    assert " warning: " in done.out or done.code == 5
    assert "odd.md:3:1" in done.out


# --- conversations ---------------------------------------------------------------------------


def test_conversations_are_listed(run, run_wide, fake) -> None:
    """Whole ids in a pipe, the distinguishing beginning on a narrow terminal."""
    fake.conversations = [a_conversation(), a_conversation(OTHER, state="ended", pending=2)]
    done = run("conversation", "ls", "--url", fake.url)
    assert FIRST in done.out
    narrow = run_wide(70, "conversation", "ls", "--url", fake.url, "--no-color")
    assert FIRST[:8] in narrow.out
    assert FIRST not in narrow.out
    assert run("conversation", "ls", "--url", fake.url, "-o", "name").out.split() == [FIRST, OTHER]
    fake.conversations = []
    assert "no conversations" in run("conversation", "ls", "--url", fake.url).err
    assert run("conversation", "ls", "--url", fake.url, "--limit", "0").code == 2


def test_a_conversation_is_a_tree_of_replies(run, fake) -> None:
    """A reply stands below what it answers; bytes are counted, not shown."""
    done = run("conversation", "show", FIRST, "--url", fake.url)
    assert done.code == 0
    lines = done.out.splitlines()
    request = next(i for i, line in enumerate(lines) if "REQUEST  client -> Greeter" in line)
    failure = next(i for i, line in enumerate(lines) if "FAILURE  Greeter -> client" in line)
    assert request < failure
    assert lines[failure].index("FAILURE") > lines[request].index("REQUEST")
    assert "3 bytes" in done.out
    assert "dead" in lines[failure]
    assert "1 pending" in lines[0]
    assert "INFORM  ? -> capability greeting" in done.out.replace("  -> ", " ? -> ") or (
        "capability greeting" in done.out
    )
    assert run("conversation", "show", FIRST, "--url", fake.url, "--full").code == 0


def test_a_conversation_for_programs(run, fake) -> None:
    """json is the whole detail, jsonl a line for each message, name its id."""
    url = ("--url", fake.url)
    assert run("conversation", "show", FIRST, *url, "--json").json["messages"][0]["sequence"] == 1
    assert len(run("conversation", "show", FIRST, *url, "-o", "jsonl").out.splitlines()) == 3
    assert run("conversation", "show", FIRST, *url, "-o", "name").out == f"{FIRST}\n"


def test_the_beginning_of_an_id_is_enough(run, fake) -> None:
    """A beginning that only one conversation has names it; others are refused with why."""
    fake.conversations = [a_conversation(), a_conversation(SECOND), a_conversation(OTHER)]
    fake.detail = a_detail(a_conversation(OTHER))
    url = ("--url", fake.url)
    assert run("conversation", "show", "019B", *url, "-o", "name").out == f"{OTHER}\n"
    several = run("conversation", "show", "019a", *url)
    assert several.code == 5
    assert "2 conversations" in several.err
    assert run("conversation", "show", "ffff", *url).code == 4
    assert run("conversation", "show", "not an id", *url).code == 5


# --- sending ---------------------------------------------------------------------------------


def test_a_reply_goes_to_stdout_and_its_source_to_stderr(run, fake) -> None:
    """stdout is the answer and nothing else."""
    done = run("send", "--to", "Greeter", "-p", "QUERY_REF", "who are you?", "--url", fake.url)
    assert done.code == 0
    assert done.out == "I am Greeter.\n"
    asked = fake.posted[0]["conversation_id"]
    assert done.err == f"INFORM from Greeter  conversation {asked}\n"
    assert fake.posted[0]["performative"] == "query-ref"
    assert fake.posted[0]["receiver"] == "Greeter"
    assert fake.queries[0]["wait"] == ["30000ms"]


@pytest.mark.parametrize("act", ["failure", "refuse", "not-understood"])
def test_a_refusing_reply_is_1(act: str, run, fake) -> None:
    """The answer FAILURE, REFUSE or NOT_UNDERSTOOD is exit code 1."""
    fake.reply = {"performative": act, "content": "no"}
    done = run("send", "--capability", "greeting", "hi", "--url", fake.url, "--timeout", "2s")
    assert done.code == 1
    assert done.out == "no\n"
    assert fake.queries[0]["wait"] == ["2000ms"]


def test_a_reply_for_programs(run, fake) -> None:
    """json is the ack with the reply; name is the conversation."""
    words = ("message", "send", "--to", "Greeter", "hi", "--url", fake.url)
    answer = run(*words, "--json").json
    assert answer["reply"]["sender_name"] == "Greeter"
    assert answer["durability"] == "disk"
    named = run(*words, "-o", "name").out
    assert named == f"{fake.posted[-1]['conversation_id']}\n"


def test_acts_that_ask_nothing_do_not_wait(run, fake) -> None:
    """inform prints the message's id when acknowledged; --wait and --no-wait override."""
    words = ("send", "--to", "Greeter", "--url", fake.url)
    done = run(*words, "-p", "inform", "hi")
    assert done.out.strip() == fake.posted[0]["message_id"]
    assert "on disk" in done.err
    assert run(*words, "--no-wait", "hi", "--json").json["duplicate"] is False
    assert run(*words, "-p", "inform", "--wait", "hi").out == "I am Greeter.\n"
    assert run(*words, "--no-wait", "--conversation", OTHER, "hi").code == 0
    assert fake.posted[-1]["conversation_id"] == OTHER


def test_content_comes_from_text_file_or_stdin(run, fake, tmp_path, monkeypatch) -> None:
    """@FILE is the file, - is stdin, @@ is a text with one @."""
    (tmp_path / "note.txt").write_text("from a file")
    words = ("send", "--to", "Greeter", "--url", fake.url)
    run(*words, "@note.txt")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from stdin")))
    run(*words, "-")
    run(*words, "@@home")
    assert [body["content"] for body in fake.posted] == ["from a file", "from stdin", "@home"]
    (tmp_path / "bytes").write_bytes(b"ab\xff")
    run(*words, "@bytes")
    assert fake.posted[-1]["content_base64"] == "YWL/"


def test_content_that_cannot_be_sent(run, fake, tmp_path) -> None:
    """Missing, unreadable and too large contents are refused before anything is sent."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(10 * 1024 * 1024 + 1)
    words = ("send", "--to", "Greeter", "--url", fake.url)
    assert run(*words, "@missing").code == 4
    assert run(*words, f"@{tmp_path}").code == 5
    assert run(*words, "@large").code == 5
    assert fake.posted == []


def test_a_binary_reply_is_written_as_it_is(run, fake) -> None:
    """Content that is no text goes to stdout byte by byte; broken base64 is an error."""
    fake.reply = {"performative": "inform", "content_base64": "AAEC"}
    words = ("send", "--to", "Greeter", "hi", "--url", fake.url)
    assert run(*words).out == "\x00\x01\x02"
    fake.reply = {"performative": "inform", "content_base64": "A"}
    assert run(*words).code == 5


def test_a_reply_on_a_terminal_is_cleaned(run_wide, fake) -> None:
    """A reply cannot command the terminal, and keeps its lines."""
    fake.reply = {"performative": "inform", "content": "one\ntwo\x1b[2J"}
    done = run_wide(80, "send", "--to", "Greeter", "hi", "--url", fake.url)
    assert done.out == "one\ntwo?[2J\n"


def test_wrong_sends_are_refused(run, fake) -> None:
    """One receiver, a known act, a wait within its range."""
    url = ("--url", fake.url)
    assert run("send", "hi", *url).code == 2
    assert run("send", "hi", "--to", "a", "--capability", "b", *url).code == 2
    assert run("send", "--to", "a", "hi", "--timeout", "500ms", *url).code == 2
    wrong = run("send", "--to", "a", "-p", "requset", "hi", *url)
    assert wrong.code == 5
    assert "did you mean request?" in wrong.err
    assert run("send", "--to", "a", *url).code == 2


# --- status, events --------------------------------------------------------------------------


def test_status_is_0_when_all_is_well(run, fake) -> None:
    """A healthy node is one screen and exit code 0."""
    done = run("status", "--url", fake.url)
    assert done.code == 0
    assert "READY" in done.out
    assert "shard-0" in done.out
    assert run("status", "--url", fake.url, "-o", "name").out == "http://127.0.0.1:8080\n"
    assert run("status", "--url", fake.url, "--json").json["troubles"] == []


def test_status_is_10_with_warnings_and_20_when_something_failed(run, many) -> None:
    """Each trouble is named; a failed process is critical."""
    many.node = a_node(
        state="degraded",
        warnings=("the API asks for no key",),
        processes=(ProcessView("shard-0", 1, "restarting", 3),),
        shards=(ShardView(0, pending=95, pending_limit=100, dead_letters=2),),
    )
    done = run("status", "--url", many.url)
    assert done.code == 10
    for text in (
        "the node is degraded",
        "the API asks for no key",
        "process shard-0 is restarting",
        "shard 0 holds 95 of 100",
        "2 dead letters",
        "agent Scraper is failed",
        "reload failed: Billing.md:7:3",
    ):
        assert text in done.out
    many.node = a_node(processes=(ProcessView("shard-0", 1, "failed"),))
    assert run("status", "--url", many.url).code == 20


def test_recent_events_are_told_and_end(run, fake) -> None:
    """Without --follow the events that the node holds are told once; --type chooses."""
    done = run("events", "--url", fake.url)
    assert done.code == 0
    assert [line.split()[1] for line in done.out.splitlines()] == [
        "agent.loaded", "agent.reload_failed",
    ]  # fmt: skip
    chosen = run("events", "--url", fake.url, "--type", "agent.reload", "--json")
    assert chosen.json["id"] == 2
    assert run("events", "--url", fake.url, "--json").out.count("\n") == 2


def test_following_events_ends_when_the_node_stays_away(run, fake, monkeypatch) -> None:
    """--follow waits for a node that restarts, and ends with 3 when it does not come back."""
    monkeypatch.setattr("caxton.cli.commands.events.RESTART_S", 0.0)
    monkeypatch.setattr(fake, "wait_closing", lambda: None)
    done = run("events", "-f", "--url", fake.url)
    assert done.code == 3
    assert done.out.count("\n") == 2


def test_events_of_a_node_that_refuses(run, fake) -> None:
    """A refusal of the stream is an error like any other."""
    fake.refusal = NotAuthorized(who="you", action="listen")
    assert run("events", "--url", fake.url).code == 7


def test_closing_a_client_ends_its_iterators(fake) -> None:
    """An iterator of events that nobody finished is ended in order with its client."""
    with NodeClient(fake.url, timeout_s=5.0) as client:
        following = client.events(5.0)
        first = next(following)
        assert first is not None
        assert first.id == 1
    assert list(following) == []


# --- config, errors --------------------------------------------------------------------------


def test_settings_are_shown_with_their_origin(run, tmp_path, monkeypatch) -> None:
    """Each value is told with where it comes from, and secrets are not told."""
    (tmp_path / "caxton.toml").write_text('port = 9\n[llm]\napi_key = "sk-secret"\n')
    monkeypatch.setenv("CAXTON_SHARDS", "3")
    done = run("config", "show", "--origin")
    assert "caxton.toml:port" in done.out
    assert "CAXTON_SHARDS" in done.out
    assert "sk-secret" not in done.out
    items = {item["key"]: item for item in run("config", "show", "--json").json["items"]}
    assert items["port"]["value"] == 9
    assert items["watch"]["value"] is True
    assert items["llm.api_key"]["value"] == "***"
    assert "ORIGIN" not in run("config", "show").out


def test_a_configuration_is_validated(run, tmp_path) -> None:
    """A valid file is 0 and a wrong one 5, naming the setting."""
    file = tmp_path / "mine.toml"
    file.write_text("shards = 2\n")
    assert run("config", "validate", str(file)).out == f"shards: {file}:shards\n"
    assert run("config", "validate", str(file), "--json").json["valid"] is True
    file.write_text("shards = 99\n")
    wrong = run("config", "validate", str(file))
    assert wrong.code == 5
    assert "0 to 32" in wrong.err


def test_error_codes_are_explained_offline(run) -> None:
    """Any case and hyphens do; an unknown code names the nearest and is 4."""
    done = run("error", "queue-full")
    assert "exit code 1" in done.out
    assert run("error", "QUEUE_FULL", "--json").json["retryable"] is True
    wrong = run("error", "QUEUE_FUL")
    assert wrong.code == 4
    assert "QUEUE_FULL" in wrong.err
    assert run("error", "ZZZ").code == 4
    assert "TIMEOUT" in run("error").out
    assert len(run("error", "--json").json["items"]) > 20


def test_the_version_of_the_node_is_told(run, tmp_path) -> None:
    """A node of another version is pointed out."""
    (tmp_path / "caxton-data" / "run").mkdir(parents=True)
    announced = tmp_path / "caxton-data" / "run" / "node.json"
    announced.write_text('{"pid": 1, "url": "http://x", "version": "9.9.9"}')
    assert "9.9.9" in run("version").err
    assert run("version", "--json").json["node"] == "9.9.9"


def test_output_is_the_only_place_that_prints() -> None:
    """No other module of the command line writes to stdout or stderr."""
    root = Path(__file__).parents[3] / "caxton"
    for path in [*(root / "cli").rglob("*.py"), *(root / "monitor").rglob("*.py")]:
        text = path.read_text()
        if path.name != "output.py":
            assert "print(" not in text.replace("console.print(", "")
            assert "click.echo" not in text
            assert "sys.stdout.write" not in text


# --- dead letters ----------------------------------------------------------------------------


def test_dead_letters_are_listed_and_shown(run, fake) -> None:
    """The list names id, reason and receiver; one of them shows content and traceback."""
    url = ("--url", fake.url)
    listed = run("dead-letter", "ls", *url)
    assert "0-2" in listed.out
    assert "AGENT_FAILED" in listed.out
    assert run("dead-letters", "list", *url, "-o", "name").out.split() == ["0-2", "0-1"]
    shown = run("dead-letter", "show", "0-1", *url)
    assert "RuntimeError: no" in shown.out
    assert "who are you?" in shown.out
    assert run("dead-letter", "show", "0-1", *url, "--json").json["letter"]["id"] == "0-1"
    assert run("dead-letter", "show", "0-1", *url, "-o", "name").out == "0-1\n"
    fake.binary = True
    assert "3 bytes" in run("dead-letter", "show", "0-1", *url).out
    missing = run("dead-letter", "show", "0-9", *url)
    assert missing.err.rstrip().endswith("(DEAD_LETTER_NOT_FOUND)")
    assert run("dead-letter", "show", "nonsense", *url).code == missing.code


def test_dead_letters_are_retried_and_discarded(run, fake) -> None:
    """By id, or all of them; discarding all asks for --yes."""
    url = ("--url", fake.url)
    assert run("dead-letter", "retry", *url).code == 2
    assert run("dead-letter", "retry", "0-1", "--all", *url).code == 2
    assert run("dead-letter", "retry", "0-1", *url, "-o", "name").out == "0-1\n"
    assert fake.changed == [("POST", "0-1")]
    assert "nothing" in run("dead-letter", "retry", "--all", "--reason", "QUEUE_FULL", *url).err
    refused = run("dead-letter", "discard", "--all", *url)
    assert refused.code == 2
    assert "--yes" in refused.err
    assert run("dead-letter", "discard", "--all", "--yes", *url, "-o", "name").out == "0-2\n"
    assert fake.changed[-1] == ("DELETE", "0-2")
    partly = run("dead-letter", "discard", "0-2", "0-1", *url)
    assert partly.err.rstrip().endswith("(DEAD_LETTER_NOT_FOUND)")
    assert "no dead letters" in run("dead-letter", "ls", *url).err
