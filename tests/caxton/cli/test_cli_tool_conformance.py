"""``caxton tool conformance`` on a small suite made from text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandbox.testing import COMMANDS, wat

pytestmark = pytest.mark.process

COMMAND = ("tool", "conformance")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A test that passes, and a second one that is right or wrong by its specification."""
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"name": "small"}')
    (folder / "nap.wasm").write_bytes(wat(COMMANDS["nap"]))
    (folder / "exit.wasm").write_bytes(wat(COMMANDS["exit 3"]))
    (folder / "exit.json").write_text(json.dumps({"exit_code": 3}))
    return folder


def test_a_suite_that_passes(run, suite: Path) -> None:
    """A row for each test, the sum below, exit code 0."""
    ran = run(*COMMAND, str(suite))
    assert ran.code == 0
    assert [line.split()[:3] for line in ran.out.splitlines()] == [
        ["SUITE", "TEST", "RESULT"],
        ["small", "exit", "pass"],
        ["small", "nap", "pass"],
    ]
    assert "2 pass, 0 fail, 0 skip" in ran.err


def test_a_failure_is_exit_code_1_with_its_reason(run, suite: Path) -> None:
    """Also for programs that read JSON, which get nothing else."""
    (suite / "exit.json").unlink()
    ran = run(*COMMAND, str(suite), "--workers", "1", "--json", "--quiet")
    assert (ran.code, ran.err) == (1, "")
    first, second = ran.json["items"]
    assert (first["test"], first["status"]) == ("exit", "fail")
    assert first["reason"] == "exit code 3, expected 0"
    assert (second["suite"], second["status"], second["reason"]) == ("small", "pass", "")


def test_the_other_engine_runs_it_too(run, suite: Path) -> None:
    """The same tests on wasmer."""
    assert run(*COMMAND, str(suite), "--engine", "wasmer").code == 0


def test_a_folder_without_tests_is_a_usage_error(run, tmp_path: Path) -> None:
    """Said before anything starts."""
    ran = run(*COMMAND, str(tmp_path / "missing"))
    assert ran.code == 2
    assert "a folder with .wasm files in or below it" in ran.err


def test_limits_of_the_options_are_refused_by_name(run, suite: Path) -> None:
    """And stand in the help."""
    ran = run(*COMMAND, str(suite), "--wall-ms", "0")
    assert ran.code == 2
    assert "--wall-ms" in ran.err
    assert "1<=x<=600000" in run(*COMMAND, "--help").out
