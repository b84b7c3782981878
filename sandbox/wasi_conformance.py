"""Runs a folder of WASI tests in the layout of WebAssembly/wasi-testsuite.

Each ``NAME.wasm`` is a test; ``NAME.json`` beside it says what it is given and what must come of
it, either as plain fields or as ``operations``. A test passes with exit code 0 when there is no
such file. What it may write to is a copy that is gone afterwards.
Source: wasi-testsuite, ``doc/specification.md``.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, Final

from sandbox.engine import CommandResult
from sandbox.errors import InvalidSetting, SandboxError
from sandbox.facade import Sandbox
from sandbox.grants import FolderGrant, Grants
from sandbox.limits import Limits
from sandbox.module import COMPONENT_VERSION, MAGIC, Kind

__all__ = ["Outcome", "Status", "WasiTest", "find_suite", "run_suite"]

SPECIFICATION_BYTES: Final = 1024 * 1024
"""Largest ``NAME.json`` or ``manifest.json``."""

MOST_TESTS: Final = 10_000
"""Most tests of one run."""

SHOWN: Final = 160
"""Characters of what a test printed that its reason shows."""

_FIELDS: Final = frozenset(
    {"args", "dirs", "root", "env", "exit_code", "stdout", "stderr", "wasi_functions", "proposals"}
)
_OPERATIONS: Final[dict[str, frozenset[str]]] = {
    "run": frozenset({"type", "args", "dirs", "root", "env"}),
    "write": frozenset({"type", "id", "payload"}),
    "read": frozenset({"type", "id", "payload"}),
    "wait": frozenset({"type", "exit_code"}),
}


class Status(StrEnum):
    """What became of a test."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class WasiTest:
    """One module to run. ``suite`` is the name of its folder's manifest, or the folder's path."""

    suite: str
    path: Path

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one test. ``reason`` is empty when it passed; ``wall_ms`` with compiling."""

    suite: str
    test: str
    status: Status
    reason: str
    wall_ms: float


class _Skipped(Exception):
    """Not for this sandbox: says why."""


class _Failed(Exception):
    """Not as it should be: says why."""


@dataclass(slots=True)
class _Specification:
    """What a test is given, and what must come of it. None: anything will do."""

    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    folders: dict[str, str] = field(default_factory=dict)
    """Name in the guest to path beside the test."""
    stdin: bytes = b""
    exit_code: int | None = 0
    stdout: bytes | None = None
    stderr: bytes | None = None
    begins: bool = False
    """The streams need only begin like that, because they were read piece by piece."""


def find_suite(folder: Path) -> list[WasiTest]:
    """The tests of all folders below, this one too, in the order of their paths.

    Raises ``InvalidSetting`` when there is none, or more than 10,000. Links are not followed.
    """
    found: list[WasiTest] = []
    names: dict[Path, str] = {}
    for path in sorted(_modules(folder)):
        if path.parent not in names:
            names[path.parent] = _suite(path.parent, folder)
        found.append(WasiTest(names[path.parent], path))
        if len(found) > MOST_TESTS:
            raise InvalidSetting("folder", str(folder), f"at most {MOST_TESTS} tests")
    if not found:
        raise InvalidSetting("folder", str(folder), "a folder with .wasm files in or below it")
    return found


async def run_suite(
    box: Sandbox,
    tests: list[WasiTest],
    *,
    limits: Limits | None = None,
    at_once: int = 2,
    told: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run the tests, each in a fresh instance with a copy of its folders; never raises for one.

    Args:
        box: runs them; a worker for each of ``at_once``.
        tests: what to run.
        limits: of each test; those of a command otherwise.
        at_once: how many run at the same time.
        told: hears of each test when it is done, in any order.
    """
    turns = asyncio.Semaphore(at_once)
    limits = limits or Limits.for_command()

    async def run(test: WasiTest) -> Outcome:
        async with turns:
            begun = time.monotonic()
            status, reason = await _judge(box, test, limits)
            wall_ms = (time.monotonic() - begun) * 1000
        outcome = Outcome(test.suite, test.name, status, reason, wall_ms)
        if told is not None:
            told(outcome)
        return outcome

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(run(test)) for test in tests]
    return [task.result() for task in running]


async def _judge(box: Sandbox, test: WasiTest, limits: Limits) -> tuple[Status, str]:
    try:
        await _run(box, test, limits)
    except _Skipped as skipped:
        return Status.SKIP, str(skipped)
    except (_Failed, SandboxError, InvalidSetting, OSError) as failed:
        return Status.FAIL, str(failed)
    return Status.PASS, ""


async def _run(box: Sandbox, test: WasiTest, limits: Limits) -> None:
    given = _read_specification(test.path.with_suffix(".json"))
    if test.path.suffix == ".wat":
        raise _Skipped("text format: make a .wasm of it first")
    data = await asyncio.to_thread(test.path.read_bytes)
    if data[:8] == MAGIC + COMPONENT_VERSION:
        raise _Skipped("a component: these tests are of WASI preview 1")
    module = await box.prepare(data)
    if module.kind is not Kind.WASI_COMMAND:
        raise _Skipped(f"a {module.kind}: these tests are commands")
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch:
        folders = await asyncio.to_thread(_copied, given, test.path.parent, Path(scratch))
        grants = Grants(folders, given.env)
        result = await box.run_command(module, given.stdin, limits, grants, given.args)
    _compare(given, result)


def _copied(given: _Specification, source: Path, scratch: Path) -> tuple[FolderGrant, ...]:
    """The folders of a test, without what an earlier run of another runner left in them."""
    grants = []
    for number, (guest, name) in enumerate(given.folders.items()):
        host = scratch / str(number)
        if not (source / name).is_dir():
            raise _Failed(f"its folder {name} is not there")
        left = shutil.ignore_patterns("*.cleanup")
        shutil.copytree(source / name, host, symlinks=True, ignore=left)
        grants.append(FolderGrant(host, guest, write=True))
    return tuple(grants)


def _compare(given: _Specification, result: CommandResult) -> None:
    wrong = []
    if given.exit_code is not None and result.exit_code != given.exit_code:
        wrong.append(f"exit code {result.exit_code}, expected {given.exit_code}")
    for stream, printed, expected in (
        ("stdout", result.stdout, given.stdout),
        ("stderr", result.stderr, given.stderr),
    ):
        if expected is None:
            continue
        same = printed.startswith(expected) if given.begins else printed == expected
        if not same:
            wrong.append(f"{stream} {_shown(printed)}, expected {_shown(expected)}")
    if wrong:
        said = result.stderr if given.stderr is None else b""
        raise _Failed("; ".join(wrong) + (f"; it said {_shown(said)}" if said else ""))


def _shown(data: bytes) -> str:
    text = data[: SHOWN + 1].decode(errors="replace")
    return repr(text[:SHOWN]) + ("..." if len(data) > SHOWN else "")


def _modules(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*.wa[st]*"):
        if path.is_symlink() or not path.is_file():
            continue
        text = path.suffix == ".wat" and not path.with_suffix(".wasm").exists()
        if path.suffix == ".wasm" or text:
            yield path


def _suite(folder: Path, top: Path) -> str:
    """The name in the manifest; the path when there is none or it has no name."""
    try:
        name = _read_json(folder / "manifest.json").get("name")
    except (OSError, _Failed):
        name = None
    return str(name) if name else str(folder.relative_to(top))


def _read_json(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(SPECIFICATION_BYTES + 1)
    if len(data) > SPECIFICATION_BYTES:
        raise _Failed(f"{path.name} has more than {SPECIFICATION_BYTES} bytes")
    try:
        found = json.loads(data)
    except ValueError as error:
        raise _Failed(f"{path.name} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise _Failed(f"{path.name} is no JSON object")
    return found


def _read_specification(path: Path) -> _Specification:
    try:
        found = _read_json(path)
    except FileNotFoundError:
        return _Specification()
    if "operations" in found:
        return _from_operations(found)
    _known(found, _FIELDS, path.name)
    given = _given(found)
    given.exit_code = _typed(found, "exit_code", int, 0)
    for stream in ("stdout", "stderr"):
        if stream in found:
            setattr(given, stream, _typed(found, stream, str, "").encode())
    return given


def _from_operations(found: dict[str, Any]) -> _Specification:
    """The newer form: one ``run``, then what is written, read and waited for."""
    _known(found, frozenset({"operations", "proposals"}), "a test with operations")
    operations = _typed(found, "operations", list, [])
    given = _Specification()
    streams = {"stdout": b"", "stderr": b""}
    for number, operation in enumerate(operations):
        kind = operation.get("type") if isinstance(operation, dict) else None
        if (kind == "run") != (number == 0):
            raise _Failed("operations must begin with the only run")
        if kind not in _OPERATIONS:
            raise _Skipped(f"operation {kind} is not one of {', '.join(_OPERATIONS)}")
        _known(operation, _OPERATIONS[kind], f"operation {kind}")
        payload = _typed(operation, "payload", str, "").encode()
        if kind == "run":
            given = _given(operation)
            given.exit_code, given.begins = None, True
        elif kind == "wait":
            given.exit_code = _typed(operation, "exit_code", int, 0)
        elif kind == "write":
            given.stdin += payload
        else:
            stream = _typed(operation, "id", str, "stdout")
            if stream not in streams:
                raise _Failed(f"operation read of {stream}: stdout or stderr can be read")
            streams[stream] += payload
    given.stdout, given.stderr = streams["stdout"] or None, streams["stderr"] or None
    return given


def _given(found: dict[str, Any]) -> _Specification:
    """What the test is given: arguments, variables, folders."""
    args = _typed(found, "args", list, [])
    env = _typed(found, "env", dict, {})
    dirs = _typed(found, "dirs", list, [])
    for value in (*args, *env.values(), *dirs):
        if not isinstance(value, str):
            raise _Failed(f"args, env and dirs hold text, not {value!r}")
    folders = {name: name for name in dirs}
    if "root" in found:
        folders["/"] = _typed(found, "root", str, "")
    for name in folders.values():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not name:
            raise _Failed(f"its folder {name!r} is not beside it")
    return _Specification(tuple(args), tuple(env.items()), folders)


def _known(found: dict[str, Any], fields: frozenset[str], where: str) -> None:
    if unknown := sorted(set(found) - fields):
        raise _Failed(f"{where} has unknown fields: {', '.join(unknown)}")


def _typed(found: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = found.get(name, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _Failed(f"{name} is {value!r}, it must be of type {kind.__name__}")
    return value
