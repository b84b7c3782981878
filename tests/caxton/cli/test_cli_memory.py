"""``caxton memory``: against a real server with the real service behind it."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "memory")]

from fake_embedder import FakeEmbedder
from fake_entry import FakeEntry

from caxton.api.app import make_app
from caxton.api.server import make_server
from caxton.errors import MemoryUnavailable
from caxton.memory.backend import Fault
from caxton.memory.requests import Maintain, Maintained

MCP_FILE = """\
{"type":"relation","from":"Ada","to":"Nobody","relationType":"knows"}
{"type":"entity","name":"Ada","entityType":"person","observations":["wrote"]}
"""


class Served:
    """A node's REST edge on a port of its own, in a thread."""

    def __init__(self) -> None:
        self.entry = FakeEntry()
        self.entry.remembered.embedder = FakeEmbedder()
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = make_server(make_app(self.entry))
        self._thread = threading.Thread(target=self._run, args=(listener,))
        self._thread.start()

    def _run(self, listener: socket.socket) -> None:
        async def work() -> None:
            await self._server.serve(sockets=[listener])
            await self.entry.remembered.close()

        asyncio.run(work())

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The node that commands talk to."""
    found = Served()
    monkeypatch.setenv("CAXTON_URL", found.url)
    yield found
    found.close()


@pytest.fixture
def filled(served: Served, run: Callable[..., Any]) -> Served:
    """With two people and a machine."""
    for words in (
        ("add", "Ada Lovelace", "person", "wrote the first program", "born in 1815"),
        ("add", "Charles Babbage", "person", "built engines"),
        ("add", "Engine", "machine", "was never built"),
        ("relate", "Ada Lovelace", "wrote programs for", "Engine", "--strength", "0.9"),
        ("relate", "Charles Babbage", "designed", "Engine"),
        ("relate", "Ada Lovelace", "worked with", "Charles Babbage", "--both-ways"),
    ):
        assert run("memory", *words).code == 0
    return served


def test_add_says_what_became_of_it(served: Served, run: Callable[..., Any]) -> None:
    """New, known with more, in a scope, with metadata; a type that differs is a conflict."""
    first = run("memory", "add", "Ada", "person", "wrote", "--metadata", "born=1815",
                "--metadata", "from=London", "--valid-from", "1815-12-10")  # fmt: skip
    assert first.out == (
        "remembered: Ada (person) in workspace, 1 new of 1 observations, version 1\n"
    )
    again = run("memory", "add", "ada", "person", "wrote", "knew Babbage")
    assert again.out == "known: Ada (person) in workspace, 1 new of 2 observations, version 2\n"
    other = run("memory", "add", "Ada", "person", "--scope", "global", "--json")
    assert other.json["memory_scope"] == "global"
    shown = run("memory", "show", "Ada", "--scope", "workspace", "--json").json
    assert shown["metadata"] == {"born": 1815, "from": "London"}
    assert shown["valid_from"] == "1815-12-10T00:00:00.000Z"
    clash = run("memory", "add", "Ada", "machine", "--json")
    assert (clash.code, clash.problem["code"]) == (6, "ENTITY_CONFLICT")
    near = run("memory", "add", "ADA!", "person", "wrote", "knew Babbage")
    assert "says nearly the same" in near.err
    assert "caxton memory merge" in near.err
    for words in (("--metadata", "born"), ("--valid-from", "soon"), ("--importance", "3")):
        assert run("memory", "add", "Ada", "person", *words).code == 2


def test_search_finds(filled: Served, run: Callable[..., Any]) -> None:
    """A table, names, JSON; relations below; nothing is an answer too."""
    found = run("memory", "search", "who wrote the first program?")
    title, best, *_ = found.out.splitlines()
    assert title.split() == ["SCORE", "NEAR", "NAME", "TYPE", "SCOPE", "SAYS"]
    assert "Ada Lovelace" in best
    assert "wrote the first program (+1)" in best
    names = run("memory", "search", "engines", "--type", "person", "-o", "name").out.split("\n")
    assert names[0] == "Charles Babbage"
    data = run("memory", "search", "engines", "--relations", "--limit", "1", "--json").json
    assert data["results"][0]["relations"]
    lines = run("memory", "search", "engines", "-o", "jsonl").out.splitlines()
    assert json.loads(lines[0])["entity_name"] == "Charles Babbage"
    related = run("memory", "search", "program", "--relations").out
    assert "Ada Lovelace -wrote programs for 0.9-> Engine" in related
    nothing = run("memory", "search", "program", "--scope", "global")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "nothing was found\n")


def test_search_says_when_only_words_were_looked_for(
    served: Served, run: Callable[..., Any]
) -> None:
    """On stderr, with the reason."""
    served.entry.remembered.embedder = None
    assert "found by words only" in run("memory", "add", "Ada", "person", "wrote").err
    found = run("memory", "search", "wrote")
    assert "words only: " in found.err
    assert "Ada" in found.out


def test_show_and_ls(filled: Served, run: Callable[..., Any]) -> None:
    """Observations, relations both ways, several of one name, and what is not there."""
    shown = run("memory", "show", "engine").out
    assert "was never built" in shown
    assert "<-wrote programs for 0.9- Ada Lovelace" in shown
    run("memory", "add", "Engine", "machine", "--scope", "global")
    both = run("memory", "show", "Engine")
    assert both.out.count("scope ") == 2
    missing = run("memory", "show", "Nobody")
    assert missing.code == 4
    assert "nothing called `Nobody` is remembered" in missing.err
    listed = run("memory", "ls", "--type", "person", "-o", "name").out.split("\n")
    assert sorted(listed) == ["", "Ada Lovelace", "Charles Babbage"]
    assert len(run("memory", "ls", "--limit", "2", "--json").json["items"]) == 2
    assert run("memory", "ls").out.splitlines()[0].split()[0] == "NAME"


def test_graph_is_a_tree(filled: Served, run: Callable[..., Any]) -> None:
    """Each entity below the nearest one; what stands in it already is marked."""
    tree = run("memory", "graph", "Ada Lovelace").out.splitlines()
    assert tree[0].startswith("Ada Lovelace (person)  wrote the first program (+1)")
    below = "\n".join(tree[1:])
    assert "-wrote programs for 0.9-> Engine (machine)  was never built" in below
    assert "-worked with-> Charles Babbage (person)" in below
    assert "-designed-> Engine (above)" in below or "<-designed- Charles Babbage (above)" in below
    assert below.count("Charles Babbage (person)") == 1
    data = run("memory", "graph", "Engine", "--depth", "1", "--json").json
    assert {one["depth"] for one in data["graph"]["nodes"]} == {0, 1}
    only = run("memory", "graph", "Ada Lovelace", "--relation", "worked with", "-o", "name").out
    assert only.split("\n") == ["Ada Lovelace", "Charles Babbage", ""]
    cut = run("memory", "graph", "Ada Lovelace", "--limit", "2")
    assert "the walk ended at 2 entities" in cut.err


def test_path_is_a_line(filled: Served, run: Callable[..., Any]) -> None:
    """With its relations; exit code 1 when there is none."""
    way = run("memory", "path", "Ada Lovelace", "Charles Babbage", "--relation", "designed",
              "--relation", "wrote programs for")  # fmt: skip
    assert way.out == (
        "Ada Lovelace -wrote programs for 0.9-> Engine <-designed- Charles Babbage\n"
    )
    none = run("memory", "path", "Ada Lovelace", "Engine", "--relation", "built")
    assert (none.code, none.out) == (1, "")
    assert "no way of at most 10 relations" in none.err


def test_relate_merge_and_rm(filled: Served, run: Callable[..., Any]) -> None:
    """Changes, and what they say."""
    both = run("memory", "relate", "Engine", "near", "Ada Lovelace", "--both-ways")
    assert both.out == "Engine -near-> Ada Lovelace\nAda Lovelace -near-> Engine\n"
    assert "1 known before" in run("memory", "relate", "Engine", "near", "Ada Lovelace").err
    missing = run("memory", "relate", "Engine", "near", "Nobody")
    assert missing.code == 4
    run("memory", "add", "A. Lovelace", "person", "knew Babbage")
    merged = run("memory", "merge", "Ada Lovelace", "A. Lovelace")
    assert merged.out.startswith("merged: Ada Lovelace has 3 observations")
    gone = run("memory", "rm", "Ada Lovelace", "--observation", "knew Babbage")
    assert gone.out == "forgotten: 1 observations\n"
    gone = run("memory", "rm", "Engine", "--relation", "near", "--to", "Ada Lovelace")
    assert gone.out == "forgotten: 1 relations\n"
    assert run("memory", "rm", "Engine", "--relation", "near", "--to", "Ada Lovelace").code == 4
    assert run("memory", "forget", "Engine", "Charles Babbage").out.startswith("forgotten: 2 ent")
    assert run("memory", "rm", "Engine").code == 4
    for words in (("a", "--relation", "b"), ("a", "b", "--observation", "c")):
        assert run("memory", "rm", *words).code == 2


def test_clear_asks_twice(filled: Served, run: Callable[..., Any]) -> None:
    """A scope and --yes are needed; types limit it."""
    assert run("memory", "clear", "--yes").code == 2
    assert run("memory", "clear", "--scope", "workspace").code == 2
    some = run("memory", "clear", "--scope", "workspace", "--type", "machine", "--yes")
    assert some.out == "forgotten: 1 entities, 2 relations\n"
    rest = run("memory", "clear", "--scope", "workspace", "--yes", "--json")
    assert rest.json["entities"] == 2


def test_stats_and_upkeep(filled: Served, run: Callable[..., Any]) -> None:
    """Facts on lines; faults give exit code 1."""
    stats = run("memory", "stats").out
    assert "backend      model" in stats
    assert "entities     3" in stats
    assert "workspace 3" in stats
    assert run("memory", "stats", "--json").json["stats"]["entity_types"]["person"] == 2
    assert run("memory", "verify").out == "everything is as it should be\n"
    assert run("memory", "optimize", "--embed").out.startswith("made vectors of 0 entities")
    ask = filled.entry.memory._ask

    async def faulty(asked: Any) -> Any:
        if isinstance(asked, Maintain):
            return Maintained(faults=(Fault("a vector is missing"), Fault("x", mended=True)))
        return await ask(asked)

    filled.entry.memory._ask = faulty
    found = run("memory", "verify")
    assert (found.code, found.out) == (1, "fault: a vector is missing\nmended: x\n")


def test_config_shows_and_sets(served: Served, run: Callable[..., Any]) -> None:
    """What is set is told apart from what is configured; `default` undoes it."""
    shown = run("memory", "config", "show", "--json").json
    assert shown["settings"]["half_life_days"] == 30
    assert run("memory", "config").out == run("memory", "config", "show").out
    done = run("memory", "config", "set", "memory.half_life_days=7", "words_weight=0.5", "--json")
    assert done.json["changed"] == ["half_life_days", "words_weight"]
    [line] = [one for one in run("memory", "config").out.splitlines() if "half_life" in one]
    assert line.split()[:3] == ["half_life_days", "7.0", "set"]
    undone = run("memory", "config", "set", "half_life_days=default", "--json")
    assert undone.json["changed"] == ["words_weight"]
    refused = run("memory", "config", "set", "words_weight=2")
    assert refused.code != 0
    assert "`words_weight`" in refused.err
    for wrong in (("set",), ("set", "words_weight"), ("set", "words_weight=much"), ("show", "a=1")):
        assert run("memory", "config", *wrong).code == 2, wrong


@pytest.mark.parametrize("name", ["m.jsonl", "m.json"])
def test_export_and_import(
    filled: Served, run: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    """A whole file that only its owner reads; taken up again by each strategy."""
    before = filled.entry.remembered.kept.copy()
    told = run("memory", "export", "--output", name, "--vectors")
    assert "exported 3 entities, 4 relations to" in told.err
    file = tmp_path / name
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.with_name(f"{name}.part").exists()
    assert file.read_text().startswith('{"type":"metadata"' if name == "m.jsonl" else '{"export_')
    checked = run("memory", "import", name, "--dry-run")
    assert checked.out == "reads well: 3 entities, 4 relations\n"
    run("memory", "clear", "--scope", "workspace", "--yes")
    done = run("memory", "import", name)
    assert done.out == "entities:  3 created\nrelations: 4 created\n"
    assert filled.entry.remembered.kept.entities == before.entities
    assert filled.entry.remembered.kept.relations == before.relations
    skipped = run("memory", "import", name, "--strategy", "skip_existing", "--json").json
    assert (skipped["entities_skipped"], skipped["relations_skipped"]) == (3, 4)
    refused = run("memory", "import", name, "--strategy", "error_on_conflict")
    assert refused.code == 6
    assert run("memory", "import", name, "--scope", "global").out.startswith("entities:  3 created")


def test_export_to_standard_output(filled: Served, run: Callable[..., Any]) -> None:
    """Lines that other programs read, of one scope."""
    done = run("memory", "export", "--scope", "workspace")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [one["type"] for one in lines] == [
        "metadata", *["entity"] * 3, *["relation"] * 4, "end",
    ]  # fmt: skip
    assert run("memory", "export", "--format", "json").json["relations"]


def test_a_file_of_an_mcp_memory_server(
    served: Served, run: Callable[..., Any], tmp_path: Path
) -> None:
    """Recognised; what its server left hanging is passed over and told."""
    (tmp_path / "memory.jsonl").write_text(MCP_FILE)
    assert "of an MCP memory server" in run("memory", "import", "memory.jsonl", "--dry-run").out
    done = run("memory", "import", "memory.jsonl")
    assert done.out == "entities:  1 created\nrelations: 1 skipped\n"
    assert "line 1: passed over" in done.err
    assert "Nobody" in done.err


def test_a_file_that_does_not_read_changes_nothing(
    served: Served, run: Callable[..., Any], tmp_path: Path
) -> None:
    """It is read to its end first; the error names file and line."""
    (tmp_path / "bad.jsonl").write_text('{"entity_name":"a","entity_type":"b"}\n{"entity')
    failed = run("memory", "import", "bad.jsonl")
    assert failed.code == 5
    assert "bad.jsonl, line 2" in failed.err
    assert served.entry.remembered.kept.entities == {}
    assert run("memory", "import", "nothing.jsonl").code == 5
    assert run("memory", "export", "--output", "no/such/folder.json").code == 1


def test_an_export_that_fails_leaves_no_file(
    filled: Served, run: Callable[..., Any], tmp_path: Path
) -> None:
    """Neither a part of one nor one that was there before is changed."""
    (tmp_path / "m.jsonl").write_text("before")
    filled.entry.failure = MemoryUnavailable(backend="model", reason="it is away")
    failed = run("memory", "export", "--output", "m.jsonl")
    assert failed.code == 1
    assert "it is away" in failed.err
    assert (tmp_path / "m.jsonl").read_text() == "before"
    assert list(tmp_path.glob("*.part")) == []


def test_without_a_node_it_says_so(run: Callable[..., Any]) -> None:
    """As every command."""
    assert run("memory", "stats").code == 3
    near = run("memory", "serch", "x")
    assert "did you mean `memory search`" in near.err
