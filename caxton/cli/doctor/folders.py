"""Data folder, configuration and agent files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from caxton.cli.commands.agent import agent_files, check_file
from caxton.cli.doctor.check import Check, Surroundings, fail, ok, warn
from caxton.cli.invocation import read_announcement
from caxton.monitor.quantities import size_text

__all__ = ["check_agents", "check_config", "check_data"]

LISTED: Final = 20
"""Findings of agent files shown; ``agent validate`` shows all."""


def check_data(around: Surroundings) -> Iterator[Check]:
    """Owner, mode, contents, size."""
    folder = around.invocation.folder
    if not folder.exists():
        parent = next(one for one in folder.absolute().parents if one.exists())
        if os.access(parent, os.W_OK):
            yield ok("data folder", f"{folder} does not exist yet; the first start makes it")
        else:
            yield fail("data folder", f"{parent} is not writable", "give another --data folder")
        return
    if not folder.is_dir():
        yield fail("data folder", f"{folder} is no folder", "give another --data folder")
        return
    facts = folder.stat()
    mode = stat.S_IMODE(facts.st_mode)
    if facts.st_uid != os.getuid():
        yield fail("owner", f"{folder} belongs to uid {facts.st_uid}", "give a folder of your own")
    elif mode & 0o077:
        yield warn("mode", f"{folder} is {mode:o}: others can look in", f"chmod 700 {folder}")
    else:
        yield ok("mode", f"{folder} is {mode:o}")
    names = {entry.name for entry in folder.iterdir()}
    if names and not names & {"run", "registry", "shards"}:
        yield fail("contents", f"holds other files, such as {min(names)}", "give an empty folder")
        return
    yield ok("size", size_text(_used(folder)))


def _used(folder: Path) -> int:
    """Bytes on disk; stores are sparse, so blocks are counted and not lengths."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_blocks * 512
            except FileNotFoundError:
                # A running node makes and removes files.
                continue
    return total


def check_config(around: Surroundings) -> Iterator[Check]:
    """The file and the environment; what is open to others."""
    loaded = around.loaded
    if loaded is None:
        yield fail("settings", around.config_error, "caxton config validate")
        return
    given = {key: origin for key, origin in loaded.origins.items() if origin != "default"}
    yield ok("settings", f"valid, {len(given)} given: {', '.join(sorted(given)) or 'all defaults'}")
    if loaded.config.host not in ("127.0.0.1", "localhost", "::1"):
        yield warn("host", f"{loaded.config.host}: the API asks for no key", "--host 127.0.0.1")
    else:
        yield ok("host", f"{loaded.config.host}: only this machine")


def check_agents(around: Surroundings) -> Iterator[Check]:
    """Every agent file."""
    if around.loaded is None:
        return
    announced = read_announcement(around.invocation.folder)
    running = Path(announced.agents) if announced is not None and announced.agents else None
    folder = running or around.loaded.config.agents
    if not folder.is_dir():
        yield warn("agents folder", f"{folder} does not exist", "--agents FOLDER, or make it")
        return
    files = agent_files([folder])
    shown = good = 0
    for path in files:
        name, findings = check_file(path)
        good += bool(name)
        for one in findings:
            shown += 1
            if shown > LISTED:
                continue
            text = f"`{one.field}`: {one.rule}"
            if one.level == "error":
                yield fail(one.place, text, "correct the file")
            else:
                yield warn(one.place, text, "see docs/reference/agent-file.md")
    if shown > LISTED:
        yield warn("more", f"{shown - LISTED} further findings", f"caxton agent validate {folder}")
    if not files:
        yield warn("agent files", f"none in {folder}", "put a Markdown file with a `name` there")
    else:
        yield ok("agent files", f"{good} of {len(files)} valid in {folder}")
