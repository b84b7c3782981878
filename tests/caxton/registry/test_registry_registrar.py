"""The registrar on real files: what is saved is registered, what is broken changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from caxton.agents import registrar as module
from caxton.agents.definition import AgentDefinition
from caxton.agents.directory import Directory
from caxton.agents.registrar import Registrar
from caxton.errors import AgentFileInvalid, AgentNotFound, ValidationError
from caxton.storage.registry import AgentRecord, Registry
from caxton.types import format_id, new_id

GOOD = "---\nname: {name}\nversion: {version}\ncapabilities: [cap-{name}]\n---\nhello\n"


class Watched:
    """A registrar with its folder and what it told."""

    def __init__(self, root: Path, **more: Any) -> None:
        self.folder = root / "agents"
        self.folder.mkdir(exist_ok=True)
        self.registry = Registry(root / "registry")
        self.node_id = self.registry.node_id()
        self.changes: list[AgentRecord] = []
        self.events: list[tuple[str, str, str]] = []
        self.registrar = Registrar(
            self.folder,
            self.registry,
            self.node_id,
            limit=more.pop("limit", 100),
            changed=self.changes.extend,
            event=lambda *words: self.events.append(words),
            **more,
        )

    def write(self, name: str, version: str = "1.0.0", file: str = "") -> Path:
        path = self.folder / (file or f"{name}.md")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(GOOD.format(name=name, version=version))
        return path

    async def until(self, condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.002)

    def states(self) -> dict[str, str]:
        """The last reload state of each agent that is registered."""
        return {one.name: one.reload.state for one in self.registry.since(0) if not one.removed}


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(**more: Any) -> Watched:
        made.append(Watched(tmp_path, **more))
        return made[-1]

    yield make
    for one in made:
        await one.registrar.close()
        one.registry.close()


async def test_a_folder_is_registered_and_registering_it_again_changes_nothing(
    watched: Callable[..., Watched],
) -> None:
    """Sub-folders count, hidden and underscored files do not; revisions grow only with changes."""
    one = watched()
    one.write("alpha")
    one.write("beta", file="deep/er/beta.md")
    one.write("gone", file=".hidden.md")
    one.write("gone", file="_draft.md")
    (one.folder / "notes.txt").write_text("x")
    await one.registrar.load()
    assert one.states() == {"alpha": "loaded", "beta": "loaded"}
    revision = one.registry.revision
    await one.registrar.load()
    assert one.registry.revision == revision
    one.registry.close()
    again = Registry(one.folder.parent / "registry")
    assert again.node_id() == one.node_id
    assert {record.name for record in again.since(0)} == {"alpha", "beta"}
    again.close()
    one.registry = Registry(one.folder.parent / "registry")


async def test_a_saved_file_is_in_service_within_half_a_second(
    watched: Callable[..., Watched],
) -> None:
    """New, changed, broken, mended, deleted: each shows, and only good versions take over."""
    one = watched()
    path = one.write("alpha")
    await one.registrar.load()
    one.registrar.watch()
    one.changes.clear()

    async def after(change: Callable[[], object]) -> AgentRecord:
        one.changes.clear()
        change()
        written = time.monotonic()
        await one.until(lambda: one.changes)
        assert time.monotonic() - written < 0.5
        return one.changes[-1]

    changed = await after(lambda: one.write("alpha", "2.0.0"))
    assert changed.reload.state == "reloaded"
    assert changed.definition is not None
    assert changed.definition.version == "2.0.0"
    broken = await after(lambda: path.write_text("---\nname: alpha\ncapabilities: {\n---\nx\n"))
    assert broken.reload.state == "failed"
    assert broken.reload.line >= 3
    assert broken.reload.detail.startswith("alpha.md:")
    assert broken.definition == changed.definition
    mended = await after(lambda: one.write("alpha", "3.0.0"))
    assert mended.reload.state == "reloaded"
    removed = await after(path.unlink)
    assert removed.removed
    assert [kind for kind, _, _ in one.events] == [
        "agent.loaded",
        "agent.reloaded",
        "agent.reload_failed",
        "agent.reloaded",
        "agent.removed",
    ]


async def test_a_file_that_was_never_valid_is_listed_as_failed(
    watched: Callable[..., Watched],
) -> None:
    """With the place of the error, and in service as soon as it is mended."""
    one = watched()
    (one.folder / "broken.md").write_text("no front matter")
    await one.registrar.load()
    record = one.registry.since(0)[0]
    assert (record.name, record.definition, record.in_service) == ("broken", None, False)
    assert record.reload.line == 1
    one.write("fine", file="broken.md")
    await one.registrar.load()
    assert one.states() == {"fine": "loaded"}


async def test_names_are_unique_in_their_kebab_form(watched: Callable[..., Watched]) -> None:
    """The second file with a name is refused, naming the first."""
    one = watched()
    one.write("DataAnalyst", file="a.md")
    one.write("data-analyst", file="b.md")
    await one.registrar.load()
    failed = [record for record in one.registry.since(0) if record.reload.state == "failed"]
    assert [record.file for record in failed] == ["b.md"]
    assert "taken by a.md" in failed[0].reload.detail


async def test_there_is_a_limit_of_agents_and_of_a_files_size(
    watched: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is refused with the number."""
    monkeypatch.setattr(module, "MAX_FILE", 200)
    one = watched(limit=1)
    one.write("alpha")
    one.write("beta")
    (one.folder / "zhuge.md").write_text("x" * 201)
    await one.registrar.load()
    details = {record.file: record.reload.detail for record in one.registry.since(0)}
    assert "at most 1 are allowed" in details["beta.md"]
    assert "1 MiB" in details["zhuge.md"]


async def test_the_code_of_an_agent_is_part_of_its_version(
    watched: Callable[..., Watched],
) -> None:
    """Saving the module beside the file reloads it; code that does not load is a failed reload."""
    checked: list[Path] = []
    fails = False

    def check(definition: AgentDefinition, file: Path) -> None:
        checked.append(file)
        if fails:
            raise AgentFileInvalid(file="echo.py", line=3, column=1, field="python", rule="bad")

    one = watched(check=check)
    (one.folder / "echo.py").write_text("class Echo: pass\n")
    (one.folder / "echo.md").write_text("---\nname: echo\npython: echo:Echo\n---\nx\n")
    await one.registrar.load()
    one.registrar.watch()
    assert checked == [one.folder / "echo.md"]
    first = one.registry.since(0)[0]
    (one.folder / "echo.py").write_text("class Echo: 'new'\n")
    await one.until(lambda: one.registry.since(first.revision))
    second = one.registry.since(0)[0]
    assert second.fingerprint != first.fingerprint
    assert second.reload.state == "reloaded"
    fails = True
    (one.folder / "echo.py").write_text("class Echo:\n")
    await one.until(lambda: one.states() == {"echo": "failed"})
    assert one.registry.since(0)[0].reload.line == 3


async def test_an_agent_that_is_renamed_is_another_agent(watched: Callable[..., Watched]) -> None:
    """The one before is removed."""
    one = watched()
    one.write("alpha", file="x.md")
    await one.registrar.load()
    one.write("beta", file="x.md")
    await one.registrar.load()
    assert one.states() == {"beta": "reloaded"}
    assert [record.name for record in one.changes if record.removed] == ["alpha"]


async def test_lost_events_are_found_by_the_next_scan(
    watched: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that appears with files in it is read too."""
    monkeypatch.setattr(module, "RESCAN_S", 0.05)
    one = watched()
    await one.registrar.load()
    one.registrar.watch()
    monkeypatch.setattr(one.registrar, "_noticed", lambda paths: None)
    one.write("late", file="new/late.md")
    await one.until(lambda: one.states() == {"late": "loaded"})


def record(name: str, revision: int, **more: Any) -> AgentRecord:
    definition = AgentDefinition(name=name, capabilities=("read", f"only-{name.lower()}"))
    return AgentRecord(
        id=more.pop("id", new_id()),
        name=name,
        revision=revision,
        file=f"{name}.md",
        definition=definition,
        fingerprint="",
        reload=module.ReloadRecord(),
        **more,
    )


def test_a_directory_finds_by_id_name_and_capability() -> None:
    """Names in any case and spelling; older revisions change nothing; removal forgets."""
    directory = Directory(new_id(), 4)
    one, two = record("DataAnalyst", 1), record("Writer", 2)
    assert directory.apply([one, two]) == [one, two]
    assert directory.apply([one]) == []
    assert directory.resolve("data-analyst") == directory.resolve("DATA_ANALYST".lower()) == one.id
    assert directory.resolve(format_id(two.id)) == two.id
    assert directory.providers("read") == [one.id, two.id]
    assert directory.name(one.id) == "DataAnalyst"
    assert directory.known(one.id)
    with pytest.raises(AgentNotFound, match="near: Writer"):
        directory.resolve("Writr")
    for wrong in ("", None, 7):
        with pytest.raises(ValidationError):
            directory.resolve(wrong)
    assert "only-writer" in directory.near_capability("only-writr")
    assert "read" in directory.near_capability("zzzz")
    directory.apply([record("Writer", 3, id=two.id, removed=True)])
    assert directory.providers("read") == [one.id]
    assert directory.name(two.id) == format_id(two.id)
    stranger = new_id()
    assert not directory.known(stranger)
    assert 0 <= directory.shard(stranger) < 4
