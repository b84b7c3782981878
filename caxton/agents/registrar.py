"""The registrar: turns the files of the agents folder into registered versions.

One per node, on shard 0. It alone writes the registry. A file event is debounced, then the file is
read, parsed, validated and compared with what is in service; only a valid and different version is
registered. A file that does not parse changes nothing but the record of its failed reload.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from caxton.agents.agent_file import AgentFileErrors, parse_agent_file
from caxton.agents.definition import AgentDefinition
from caxton.agents.definition import kebab as slug
from caxton.errors import AgentFileInvalid, CaxtonError
from caxton.storage.registry import AgentRecord, Registry, ReloadRecord
from caxton.tools.catalog import ToolCatalog
from caxton.types import named_id

__all__ = ["Registrar"]

logger = logging.getLogger("caxton.agents")

DEBOUNCE_S = 0.03
"""Editors write a file in several steps; what comes within this time is one change."""
RESCAN_S = 10.0
"""A lost file event is found at the latest after this."""
MAX_FILE = 1024 * 1024
SUFFIXES = (".md",)
SLICE = 20
"""Files looked at before the event loop gets its turn."""


class Registrar:
    """Keeps the registry equal to the agents folder.

    Args:
        folder: the agents folder.
        registry: opened for writing.
        node_id: space of the agents' ids.
        limit: agents at most.
        changed: called on the loop with the records of each change, after they are stored.
        event: tells operators something.
        check: raises when the code an agent file refers to does not load.
        catalog: the tools that agent files may name; those that come with Caxton when not given.
    """

    def __init__(
        self,
        folder: Path,
        registry: Registry,
        node_id: bytes,
        *,
        limit: int,
        changed: Callable[[list[AgentRecord]], None],
        event: Callable[[str, str, str], None],
        check: Callable[[AgentDefinition, Path], object] | None = None,
        catalog: ToolCatalog | None = None,
    ) -> None:
        self._catalog = catalog
        self._check_code = check
        self._folder = folder
        self._registry = registry
        self._node_id = node_id
        self._limit = limit
        self._changed = changed
        self._event = event
        self._records: dict[str, AgentRecord] = {}
        """By file, relative to the folder."""
        for record in registry.since(0):
            if not record.removed:
                self._records[record.file] = record
        self._names = {slug(record.name): file for file, record in self._records.items()}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._observer: Any = None
        self._moved = False
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._touched: set[Path] = set()
        self._stamps: dict[str, tuple[int, int]] = {}
        self._first_event: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rescan: asyncio.TimerHandle | None = None

    async def load(self) -> None:
        """Read the whole folder and register what changed since the last run."""
        await self._sync(None, since=time.monotonic())

    # --- one change --------------------------------------------------------------------------

    async def _sync(self, touched: set[Path] | None, *, since: float) -> None:
        """Look at the files that ``touched`` concerns (all of them when None) and register."""
        async with self._lock:
            if touched is None:
                present = await asyncio.to_thread(self._scan)
                changed = [f for f, stamp in present.items() if self._stamps.get(f) != stamp]
                gone = [f for f in self._records if f not in present]
                self._stamps = present
            else:
                changed, gone = self._concerned(touched)
            for start in range(0, len(changed), SLICE):
                self._register(changed[start : start + SLICE], (), since)
                await asyncio.sleep(0)
            if gone:
                self._register((), gone, since)

    def _concerned(self, touched: set[Path]) -> tuple[list[str], list[str]]:
        changed, gone = [], []
        for path in touched:
            if path.suffix in SUFFIXES:
                file = str(path.relative_to(self._folder))
                if path.is_file():
                    changed.append(file)
                elif file in self._records:
                    gone.append(file)
        modules = {path for path in touched if path.suffix not in SUFFIXES}
        for file, record in self._records.items():
            if (
                modules
                and record.definition
                and self.module_file(file, record.definition) in modules
            ):
                changed.append(file)
        return changed, gone

    def _scan(self) -> dict[str, tuple[int, int]]:
        """Every agent file with the time and size of itself and of its module. In a thread."""
        found = {}
        for path in sorted(self._folder.rglob("*")) if self._folder.is_dir() else ():
            parts = path.relative_to(self._folder).parts
            if path.suffix not in SUFFIXES or any(part[0] in "._" for part in parts):
                continue
            try:
                stat = path.stat()
            except OSError:
                # Gone between the listing and now: the next event tells.
                continue
            file = str(path.relative_to(self._folder))
            found[file] = (stat.st_mtime_ns + self._module_time(file), stat.st_size)
        return found

    def _module_time(self, file: str) -> int:
        record = self._records.get(file)
        module = self.module_file(file, record.definition) if record and record.definition else None
        try:
            return module.stat().st_mtime_ns if module else 0
        except OSError:
            return 0

    def _register(self, changed: Iterable[str], gone: Iterable[str], since: float) -> None:
        records = []
        for file in changed:
            record = self._look(file, since)
            if record is not None:
                records.append(record)
                self._names[slug(record.name)] = file
        records += [
            msgspec.structs.replace(self._records[file], removed=True)
            for file in gone
            if file in self._records
        ]
        if not records:
            return
        stored = self._registry.write(records)
        for record in stored:
            before = self._records.pop(record.file, None)
            self._moved = self._moved or (before is not None and before.id != record.id)
            if before is not None and self._names.get(slug(before.name)) == record.file:
                del self._names[slug(before.name)]
            if record.removed:
                self._tell("agent.removed", record, f"{record.file} is gone; draining")
                continue
            self._records[record.file] = record
            self._names[slug(record.name)] = record.file
            self._report(record)
        replaced = self._renamed(stored)
        self._changed(stored + replaced)

    def _renamed(self, stored: list[AgentRecord]) -> list[AgentRecord]:
        """Removals of the agents that a file held under another name before."""
        ids = {record.file: record.id for record in stored if not record.removed}
        old = (
            [
                msgspec.structs.replace(record, removed=True)
                for record in self._registry.since(0)
                if not record.removed and record.file in ids and record.id != ids[record.file]
            ]
            if self._moved
            else []
        )
        self._moved = False
        return self._registry.write(old) if old else []

    def _report(self, record: AgentRecord) -> None:
        reload = record.reload
        if reload.state == "failed":
            logger.error("agent file not taken: %s", reload.detail)
            still = "; the version before goes on" if record.definition else ""
            self._tell("agent.reload_failed", record, f"{reload.detail}{still}")
            return
        version = record.definition.version if record.definition else ""
        took = reload.took_us / 1_000
        self._tell(f"agent.{reload.state}", record, f"{record.file} {version} in {took:.0f} ms")
        for warning in reload.warnings:
            logger.warning("%s", warning)

    def _tell(self, kind: str, record: AgentRecord, text: str) -> None:
        self._event(kind, record.name, text)

    def _look(self, file: str, since: float) -> AgentRecord | None:
        """The new record of a file, or None when nothing about it changed."""
        known = self._records.get(file)
        path = self._folder / file
        try:
            if path.stat().st_size > MAX_FILE:
                raise AgentFileInvalid(
                    file=file, line=1, column=1, field="file", rule="at most 1 MiB allowed"
                )
            data = path.read_bytes()
        except OSError as error:
            return self._failed(
                file, known, "", since, f"{file}:1:1 `file`: {error.strerror}", 1, 1
            )
        except AgentFileInvalid as error:
            return self._failed(file, known, "too large", since, str(error), 1, 1)
        fingerprint = self._fingerprint(file, data, known)
        if known is not None and known.fingerprint == fingerprint:
            return None
        try:
            parsed = parse_agent_file(data, file, self._catalog)
            self._check(parsed.definition, file)
            if self._check_code is not None:
                self._check_code(parsed.definition, self._folder / file)
        except AgentFileErrors as errors:
            first = errors.errors[0]
            line, column = int(str(first.fields["line"])), int(str(first.fields["column"]))
            detail = "; ".join(str(one) for one in errors.errors[:5])
            return self._failed(file, known, fingerprint, since, detail, line, column)
        except CaxtonError as error:
            line = int(str(error.fields.get("line", 1)))
            return self._failed(file, known, fingerprint, since, str(error), line, 1)
        definition = parsed.definition
        return AgentRecord(
            id=named_id(self._node_id, slug(definition.name)),
            name=definition.name,
            revision=0,
            file=file,
            definition=definition,
            fingerprint=self._fingerprint_of(file, data, definition),
            reload=ReloadRecord(
                state="loaded" if known is None or known.definition is None else "reloaded",
                at=time.time_ns() // 1_000_000,
                took_us=int((time.monotonic() - since) * 1e6),
                warnings=tuple(str(one) for one in parsed.warnings),
            ),
        )

    def _check(self, definition: AgentDefinition, file: str) -> None:
        """What one file alone cannot know."""
        names = self._names
        other = names.get(slug(definition.name))
        if other is not None and other != file:
            raise AgentFileInvalid(
                file=file, line=1, column=1, field="name",
                rule=f"`{definition.name}` is taken by {other}; names are unique",
            )  # fmt: skip
        if other is None and len(names) >= self._limit:
            raise AgentFileInvalid(
                file=file, line=1, column=1, field="file",
                rule=f"{len(names)} agents are registered, at most {self._limit} are allowed",
            )  # fmt: skip

    def _failed(
        self,
        file: str,
        known: AgentRecord | None,
        fingerprint: str,
        since: float,
        detail: str,
        line: int,
        column: int,
    ) -> AgentRecord | None:
        if known is not None and known.reload.detail == detail and known.fingerprint == fingerprint:
            return None
        reload = ReloadRecord(
            state="failed",
            at=time.time_ns() // 1_000_000,
            took_us=int((time.monotonic() - since) * 1e6),
            detail=detail,
            line=line,
            column=column,
        )
        if known is not None:
            return msgspec.structs.replace(known, fingerprint=fingerprint, reload=reload)
        name = Path(file).stem[:64]
        return AgentRecord(
            id=named_id(self._node_id, f"file:{file}"),
            name=name,
            revision=0,
            file=file,
            definition=None,
            fingerprint=fingerprint,
            reload=reload,
        )

    def _fingerprint(self, file: str, data: bytes, known: AgentRecord | None) -> str:
        return self._fingerprint_of(file, data, known.definition if known else None)

    def _fingerprint_of(self, file: str, data: bytes, definition: AgentDefinition | None) -> str:
        """Hash of the file and of the module it refers to."""
        digest = hashlib.sha256(data)
        referred = self.module_file(file, definition) if definition else None
        if referred is not None:
            try:
                digest.update(referred.read_bytes())
            except OSError as error:
                digest.update(str(error.errno).encode())
        return digest.hexdigest()

    def module_file(self, file: str, definition: AgentDefinition) -> Path | None:
        """The file that holds the code of the agent in ``file``, when it is one."""
        name = definition.module_file
        if name is None:
            return None
        path = (self._folder / file).parent / name
        return path if definition.wasm or path.is_file() else None

    # --- watching ----------------------------------------------------------------------------

    def watch(self) -> None:
        """Follow the folder from now on."""
        self._loop = asyncio.get_running_loop()
        self._folder.mkdir(parents=True, exist_ok=True)
        observer = Observer()
        observer.daemon = True
        observer.schedule(_Events(self._from_thread), str(self._folder), recursive=True)
        observer.start()
        self._observer = observer
        self._rescan = self._loop.call_later(RESCAN_S, self._scan_again)

    def _from_thread(self, paths: list[Path]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._noticed, paths)

    def _noticed(self, paths: list[Path]) -> None:
        if self._loop is None:
            return
        if self._first_event is None:
            self._first_event = time.monotonic()
        self._touched.update(paths)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(DEBOUNCE_S, self._reload)

    def _reload(self) -> None:
        since = self._first_event or time.monotonic()
        touched, self._touched = self._touched, set()
        self._first_event = None
        self._timer = None
        # A folder that came or went is a reason to look at everything.
        everything = any(not path.suffix for path in touched)
        self._begin(None if everything else touched, since)

    def _scan_again(self) -> None:
        self._begin(None, time.monotonic())
        if self._loop is not None:
            self._rescan = self._loop.call_later(RESCAN_S, self._scan_again)

    def _begin(self, touched: set[Path] | None, since: float) -> None:
        if self._loop is not None:
            task = self._loop.create_task(self._sync_reported(touched, since))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _sync_reported(self, touched: set[Path] | None, since: float) -> None:
        try:
            await self._sync(touched, since=since)
        except (CaxtonError, OSError) as error:
            logger.error("agents folder not read: %s", error)
            self._event("agents.scan_failed", str(self._folder), str(error))

    async def close(self) -> None:
        """Stop following the folder."""
        for timer in (self._timer, self._rescan):
            if timer is not None:
                timer.cancel()
        self._loop = None
        observer = self._observer
        if observer is not None:
            self._observer = None
            await asyncio.to_thread(_stop, observer)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)


def _stop(observer: Any) -> None:
    observer.stop()
    observer.join(5)


class _Events(FileSystemEventHandler):
    """Any change below the folder is a reason to look at what it concerns."""

    def __init__(self, noticed: Callable[[list[Path]], None]) -> None:
        self._noticed = noticed

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Opening and reading are no changes."""
        if event.event_type in ("created", "modified", "moved", "deleted", "closed"):
            paths = [Path(os.fsdecode(p)) for p in (event.src_path, event.dest_path) if p]
            if event.is_directory and event.event_type == "modified":
                return
            self._noticed(paths)
