"""The runner of wasi-testsuite's layout, on a suite made here from text."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import InvalidSetting, Limits, Sandbox
from sandbox.testing import AGENTS, COMMAND_ATTACKS, COMMANDS, command, wat
from sandbox.wasi_conformance import Outcome, Status, find_suite, run_suite

pytestmark = pytest.mark.process

QUIET = command("(nop)")
CAT = COMMANDS["cat"]
EXIT_3 = COMMANDS["exit 3"]

PROBE = (Path(__file__).with_name("wasi_programs") / "c" / "probe.wasm").read_bytes()


BROKEN: list[tuple[Any, str]] = [
    ("{", "{name}.json is no JSON: "),
    ("[]", "{name}.json is no JSON object"),
    (" " * 1_048_577, "{name}.json has more than 1048576 bytes"),
    ({"exitcode": 1, "arg": []}, "{name}.json has unknown fields: arg, exitcode"),
    ({"exit_code": "1"}, "exit_code is '1', it must be of type int"),
    ({"exit_code": True}, "exit_code is True, it must be of type int"),
    ({"args": "a"}, "args is 'a', it must be of type list"),
    ({"args": [1]}, "args, env and dirs hold text, not 1"),
    ({"env": {"A": None}}, "args, env and dirs hold text, not None"),
    ({"env": {"A=B": "1"}}, "env is 'A=B'; allowed: "),
    ({"dirs": ["missing"]}, "its folder missing is not there"),
    ({"root": "good.wasm"}, "its folder good.wasm is not there"),
    ({"dirs": ["../up"]}, "its folder '../up' is not beside it"),
    ({"root": "/etc"}, "its folder '/etc' is not beside it"),
    ({"root": ""}, "its folder '' is not beside it"),
    ({"operations": [], "args": []}, "a test with operations has unknown fields: args"),
    ({"operations": [{"type": "wait"}]}, "operations must begin with the only run"),
    ({"operations": ["run"]}, "operations must begin with the only run"),
    (
        {"operations": [{"type": "run"}, {"type": "run"}]},
        "operations must begin with the only run",
    ),
    (
        {"operations": [{"type": "run", "exit_code": 1}]},
        "operation run has unknown fields: exit_code",
    ),
    (
        {"operations": [{"type": "run"}, {"type": "read", "id": "stdin"}]},
        "operation read of stdin: stdout or stderr can be read",
    ),
]
"""Specifications that make no sense, and how the reason begins."""


class Suite:
    """A folder of tests being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, module: str | bytes, specification: Any = None) -> None:
        """A test; ``specification`` is written as JSON, text as it is."""
        data = module if isinstance(module, bytes) else wat(module)
        (self.folder / f"{name}.wasm").write_bytes(data)
        if specification is not None:
            raw = isinstance(specification, str)
            text = specification if raw else json.dumps(specification)
            (self.folder / f"{name}.json").write_text(text)


@pytest.fixture
async def box(cache_dir: Path) -> AsyncIterator[Sandbox]:
    """Two workers."""
    async with Sandbox(cache_dir, workers=2) as made:
        yield made


async def outcomes(box: Sandbox, folder: Path, **limits: int) -> dict[str, Outcome]:
    """What became of each test by its name."""
    found = await run_suite(
        box, find_suite(folder), limits=Limits.for_command(**{"wall_ms": 20_000, **limits})
    )
    return {outcome.test: outcome for outcome in found}


async def test_what_is_as_specified_passes(box: Sandbox, tmp_path: Path) -> None:
    """Exit code, output, arguments, variables and folders, in the plain form."""
    suite = Suite(tmp_path)
    suite.add("no-specification", QUIET)
    suite.add("exit", EXIT_3, {"exit_code": 3, "wasi_functions": ["proc_exit"]})
    suite.add("args", PROBE, {"args": ["args", "a", "b c"], "stdout": "a\nb c\n", "stderr": ""})
    suite.add("env", PROBE, {"args": ["env"], "env": {"B": "2", "A": "1"}, "stdout": "A=1\nB=2\n"})
    suite.add("both", PROBE, {"args": ["both"], "stdout": "out\n", "stderr": "err\n"})
    suite.add("said", PROBE, {"args": ["both"]})
    (tmp_path / "fs.dir" / "deep").mkdir(parents=True)
    (tmp_path / "fs.dir" / "file").write_text("text")
    (tmp_path / "fs.dir" / "old.cleanup").write_text("left by an earlier run")
    listed = {"stdout": "deep/\nfile\n"}
    suite.add("dirs", PROBE, {"args": ["ls", "fs.dir"], "dirs": ["fs.dir"], **listed})
    suite.add("root", PROBE, {"args": ["ls", "/"], "root": "fs.dir", **listed})
    suite.add("write", PROBE, {"args": ["write", "/new", "x"], "root": "fs.dir"})
    suite.add("remove", PROBE, {"args": ["rm", "/file"], "root": "fs.dir"})
    found = await outcomes(box, tmp_path)
    assert {name: (o.status, o.reason) for name, o in found.items()} == dict.fromkeys(
        found, (Status.PASS, "")
    )
    assert len(found) == 10
    assert all(outcome.wall_ms > 0 for outcome in found.values())
    assert sorted(path.name for path in (tmp_path / "fs.dir").iterdir()) == [
        "deep", "file", "old.cleanup",
    ]  # fmt: skip


async def test_what_is_not_as_specified_fails_with_its_reason(box: Sandbox, tmp_path: Path) -> None:
    """Exit code, each stream, a trap, time; what it said stands with it."""
    suite = Suite(tmp_path)
    suite.add("exit", EXIT_3)
    suite.add("said", PROBE, {"args": ["rm", "/nothing"]})
    suite.add("stdout", PROBE, {"args": ["both"], "stdout": "out"})
    suite.add("stderr", PROBE, {"args": ["both"], "stderr": "", "exit_code": 1})
    suite.add("long", PROBE, {"args": ["random", "4000"], "stdout": "00"})
    suite.add("trap", COMMAND_ATTACKS["unreachable"][0])
    suite.add("fuel", COMMAND_ATTACKS["infinite loop"][0])
    found = await outcomes(box, tmp_path, fuel=10_000_000)
    assert {outcome.status for outcome in found.values()} == {Status.FAIL}
    assert found["exit"].reason == "exit code 3, expected 0"
    assert found["said"].reason == r"exit code 1, expected 0; it said 'errno 44\n'"
    assert found["stdout"].reason == r"stdout 'out\n', expected 'out'; it said 'err\n'"
    assert found["stderr"].reason == r"exit code 0, expected 1; stderr 'err\n', expected ''"
    assert len(found["long"].reason) < 400
    assert found["trap"].reason.startswith("trap: the guest trapped: unreachable")
    assert found["fuel"].reason.startswith("out_of_fuel: ")


async def test_a_broken_specification_fails_and_says_where(box: Sandbox, tmp_path: Path) -> None:
    """Nothing passes because nobody understood what it should do; the other tests go on."""
    suite = Suite(tmp_path)
    suite.add("good", QUIET)
    for number, (specification, _) in enumerate(BROKEN):
        suite.add(f"t{number}", QUIET, specification)
    found = await outcomes(box, tmp_path)
    assert found.pop("good").status is Status.PASS
    for number, (_, reason) in enumerate(BROKEN):
        outcome = found[f"t{number}"]
        assert outcome.status is Status.FAIL
        assert outcome.reason.startswith(reason.replace("{name}", outcome.test)), reason


async def test_operations_write_read_and_wait(box: Sandbox, tmp_path: Path) -> None:
    """The newer form: input piece by piece, output read from its beginning, then the exit code."""
    suite = Suite(tmp_path)

    def steps(*operations: dict[str, Any]) -> dict[str, Any]:
        return {"operations": [dict(one) for one in operations], "proposals": []}

    run = {"type": "run", "args": ["cat"]}
    write = [{"type": "write", "id": "stdin", "payload": part} for part in ("ab", "cd")]
    wait = {"type": "wait"}
    suite.add("echo", PROBE, steps(run, *write, {"type": "read", "payload": "abc"}, wait))
    suite.add("wrong", PROBE, steps(run, *write, {"type": "read", "payload": "bc"}, wait))
    both = {"type": "run", "args": ["both"]}
    err = {"type": "read", "id": "stderr", "payload": "er"}
    suite.add("errors", PROBE, steps(both, err, {"type": "wait", "exit_code": 0}))
    suite.add("code", EXIT_3, steps({"type": "run"}, {"type": "wait", "exit_code": 3}))
    suite.add("bad-code", EXIT_3, steps({"type": "run"}, wait))
    suite.add("no-wait", EXIT_3, steps({"type": "run"}))
    suite.add("socket", QUIET, steps({"type": "run"}, {"type": "connect", "id": "server"}))
    found = await outcomes(box, tmp_path)
    assert {name: outcome.status for name, outcome in found.items()} == {
        "echo": Status.PASS,
        "wrong": Status.FAIL,
        "errors": Status.PASS,
        "code": Status.PASS,
        "bad-code": Status.FAIL,
        "no-wait": Status.PASS,
        "socket": Status.SKIP,
    }
    assert found["wrong"].reason == "stdout 'abcd', expected 'bc'"
    assert found["socket"].reason.startswith("operation connect is not one of run, write")


async def test_what_is_for_another_runner_is_skipped(box: Sandbox, tmp_path: Path) -> None:
    """Components, agents and text are not counted as passed or failed; nonsense fails."""
    suite = Suite(tmp_path)
    suite.add("component", b"\0asm\x0d\0\x01\0")
    suite.add("agent", AGENTS["echo"])
    suite.add("nonsense", b"no module")
    suite.add("made", QUIET)
    (tmp_path / "made.wat").write_text(QUIET)
    (tmp_path / "text.wat").write_text(QUIET)
    found = await outcomes(box, tmp_path)
    assert {name: outcome.status for name, outcome in found.items()} == {
        "component": Status.SKIP,
        "agent": Status.SKIP,
        "text": Status.SKIP,
        "nonsense": Status.FAIL,
        "made": Status.PASS,
    }
    assert "WASI preview 1" in found["component"].reason
    assert found["nonsense"].reason.startswith("not_a_module: ")


async def test_suites_are_named_by_their_manifest(box: Sandbox, tmp_path: Path) -> None:
    """Each folder of tests is a suite, in the order of its path; every test is told once."""
    for folder, manifest in (
        ("c/testsuite", '{"name": "WASI C tests"}'),
        ("rust", "{"),
        ("wat", "{}"),
    ):
        Suite(tmp_path / folder).add("t", QUIET)
        (tmp_path / folder / "manifest.json").write_text(manifest)
    Suite(tmp_path / "none").add("t", QUIET)
    (tmp_path / "linked.wasm").symlink_to(tmp_path / "rust" / "t.wasm")
    told: list[Outcome] = []
    found = await run_suite(box, find_suite(tmp_path), told=told.append)
    assert [outcome.suite for outcome in found] == ["WASI C tests", "none", "rust", "wat"]
    assert sorted(o.suite for o in told) == sorted(o.suite for o in found)


def test_a_folder_without_tests_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a wrong path does not look like success; too many tests are refused too."""
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InvalidSetting, match=r"a folder with \.wasm files"):
            find_suite(folder)
    monkeypatch.setattr("sandbox.wasi_conformance.MOST_TESTS", 1)
    for name in ("a", "b"):
        (tmp_path / f"{name}.wasm").touch()
    with pytest.raises(InvalidSetting, match="at most 1 tests"):
        find_suite(tmp_path)
