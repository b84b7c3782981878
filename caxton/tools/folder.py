"""The tools folder of a node: read when it starts, followed while it runs.

A tool that is new or changed is loaded beside the others and put into the catalog when all about
it is right. One that is not keeps the version before, and its reason is told and listed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from caxton.errors import ToolInvalid
from caxton.tools.catalog import BUILTIN_SOURCE, FOLDER_SOURCE, ToolCatalog
from caxton.tools.loading import LoadedTool
from caxton.tools.tool_files import ToolFiles, find_tools, stamp

__all__ = ["ToolFolder"]

logger = logging.getLogger("caxton.tools")

DEBOUNCE_S: Final = 0.1
"""Quiet time after a change before files are read."""
RESCAN_S: Final = 5.0
"""How often the folder is looked at when nothing is told: it may come into being."""
CLOSE_S: Final = 5.0
AT_ONCE: Final = 2
"""Tools that are loaded at a time; compiling one takes a processor."""

WATCHED: Final = frozenset({"tool.json", "policy.yaml"})

Load = Callable[[ToolFiles], Awaitable[tuple[LoadedTool, ...]]]
Stamp = tuple[tuple[str, int, int], ...]


class ToolFolder:
    """See the module. Belongs to one event loop.

    Args:
        folder: where the tools lie.
        load: makes the files of a tool callable; raises ToolInvalid.
        catalog: gets the tools as the source ``folder``.
        event: tells operators something: kind, subject and text.
        changed: called when the catalog or a reason has changed.
        forget: called with the hash of a module that no tool has any more.
    """

    def __init__(
        self,
        folder: Path,
        load: Load,
        catalog: ToolCatalog,
        event: Callable[[str, str, str], None],
        changed: Callable[[], None] = lambda: None,
        forget: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._load = load
        self._catalog = catalog
        self._event = event
        self._changed = changed
        self._forget = forget
        self._stamps: dict[str, Stamp] = {}
        self._tools: dict[str, tuple[LoadedTool, ...]] = {}
        self._lock = asyncio.Lock()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rescan: asyncio.TimerHandle | None = None
        self._observer: Any = None
        self._unreadable = ""

    @property
    def loaded(self) -> tuple[LoadedTool, ...]:
        """The tools that can be called."""
        return tuple(one for tools in self._tools.values() for one in tools)

    async def sync(self) -> None:
        """Look at the folder and take up what has changed. Never raises for a bad tool."""
        async with self._lock:
            try:
                present = await asyncio.to_thread(self._look)
            except OSError as error:
                if self._unreadable != str(error):
                    self._unreadable = str(error)
                    logger.error("tools folder %s is not readable: %s", self._folder, error)
                return
            self._unreadable = ""
            before = {one.module.sha256 for one in self.loaded}
            gone = (self._stamps.keys() | self._tools.keys()) - present.keys()
            for name in sorted(gone):
                self._gone(name)
            changed = [
                (files, seen)
                for name, (files, seen) in present.items()
                if self._stamps.get(name) != seen
            ]
            await asyncio.gather(*(self._take(files, seen) for files, seen in changed))
            if gone or changed:
                self._put(before)

    def _look(self) -> dict[str, tuple[ToolFiles, Stamp]]:
        found = {}
        for files in find_tools(self._folder):
            seen = stamp((files.module, files.description, files.policy))
            found[files.name] = (files, seen)
        return found

    def _gone(self, name: str) -> None:
        self._stamps.pop(name, None)
        self._catalog.problems.pop(name, None)
        if self._tools.pop(name, None) is not None:
            self._event("tool.removed", name, f"{self._folder / name} is gone")

    async def _take(self, files: ToolFiles, seen: Stamp) -> None:
        name = files.name
        known = self._tools.get(name)
        try:
            async with self._turns:
                self._refuse_shipped(name)
                tools = await self._load(files)
        except ToolInvalid as error:
            self._stamps[name] = seen
            reason = str(error.fields["reason"])
            if self._catalog.problems.get(name) != reason:
                self._catalog.problems[name] = reason
                still = "; the version before goes on" if known else ""
                logger.error("tool not taken: %s: %s%s", name, reason, still)
                self._event("tool.load_failed", name, f"{reason}{still}")
            return
        self._stamps[name] = seen
        self._catalog.problems.pop(name, None)
        self._tools[name] = tools
        if known is None or _fingerprint(known) != _fingerprint(tools):
            kind = "tool.loaded" if known is None else "tool.reloaded"
            module = tools[0].module
            text = f"{len(module.data):,} bytes, {module.kind}, sha256 {module.sha256[:12]}"
            self._event(kind, name, text)

    def _refuse_shipped(self, name: str) -> None:
        shipped = self._catalog.get(name)
        if shipped is not None and shipped.source == BUILTIN_SOURCE:
            raise ToolInvalid(
                tool=name, reason="a tool of Caxton has this name; give the folder another one"
            )

    def _put(self, before: set[str]) -> None:
        self._catalog.put(FOLDER_SOURCE, [one.spec for one in self.loaded])
        self._changed()
        for sha256 in before - {one.module.sha256 for one in self.loaded}:
            self._forget(sha256)

    # --- watching ----------------------------------------------------------------------------

    def watch(self) -> None:
        """Follow the folder from now on, also when it does not exist yet."""
        self._loop = asyncio.get_running_loop()
        self._observe()
        self._rescan = self._loop.call_later(RESCAN_S, self._scan_again)

    def _observe(self) -> None:
        if self._observer is not None or not self._folder.is_dir():
            return
        observer = Observer()
        observer.daemon = True
        try:
            observer.schedule(_Events(self._from_thread), str(self._folder), recursive=True)
            observer.start()
        except OSError as error:
            # Too many folders to watch, most often: what is looked at again and again will do.
            logger.warning("tools folder is looked at every %g s: %s", RESCAN_S, error)
            return
        self._observer = observer

    def _from_thread(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._noticed)

    def _noticed(self) -> None:
        if self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(DEBOUNCE_S, self._begin)

    def _scan_again(self) -> None:
        if self._loop is not None:
            self._observe()
            self._begin()
            self._rescan = self._loop.call_later(RESCAN_S, self._scan_again)

    def _begin(self) -> None:
        if self._loop is not None and not self._lock.locked():
            task = self._loop.create_task(self.sync())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif self._loop is not None:
            self._noticed()

    async def close(self) -> None:
        """Stop following the folder."""
        for timer in (self._timer, self._rescan):
            if timer is not None:
                timer.cancel()
        self._loop = None
        observer, self._observer = self._observer, None
        if observer is not None:
            await asyncio.to_thread(_stop, observer)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)


def _fingerprint(tools: tuple[LoadedTool, ...]) -> object:
    return [(one.module.sha256, one.about, one.policy, one.function) for one in tools]


def _stop(observer: Any) -> None:
    observer.stop()
    observer.join(CLOSE_S)


class _Events(FileSystemEventHandler):
    """A change of a module, a description, a policy or a folder is a reason to look."""

    def __init__(self, noticed: Callable[[], None]) -> None:
        self._noticed = noticed

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Opening and reading are no changes; sources are not what is run."""
        if event.event_type not in ("created", "modified", "moved", "deleted", "closed"):
            return
        if event.is_directory and event.event_type == "modified":
            return
        paths = [Path(os.fsdecode(path)) for path in (event.src_path, event.dest_path) if path]
        if event.is_directory or any(
            path.suffix == ".wasm" or path.name in WATCHED for path in paths
        ):
            self._noticed()
