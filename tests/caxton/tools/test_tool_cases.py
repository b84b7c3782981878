"""Test cases of tools: how they are read and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caxton.errors import ToolInvalid
from caxton.tools.cases import check, read_cases
from caxton.tools.workbench import Outcome


def cases(folder: Path, value: Any) -> Any:
    file = folder / "a.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return read_cases("t", [file])


def test_a_file_holds_one_case_or_a_list(tmp_path: Path) -> None:
    """What has no name gets one."""
    (one,) = cases(tmp_path, {"arguments": {"a": 1}, "expected": 7})
    assert (one.name, one.arguments, one.end, one.wanted) == ("a 1", {"a": 1}, "expected", 7)
    two = cases(tmp_path, [{"error": "x"}, {"name": "b", "matches": {}, "function": "f"}])
    assert [(case.name, case.end, case.function) for case in two] == [
        ("a 1", "error", ""), ("b", "matches", "f"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "a.json"),
        ([7], "case 1 is not a JSON object"),
        ([{"expected": 1}, {"expects": 1}], "case 2: `expects` is not known"),
        ({"arguments": {}}, "needs one of expected, matches, error, it has 0"),
        ({"expected": 1, "error": "x"}, "it has 2"),
        ({"arguments": [], "expected": 1}, "`arguments` must be a JSON object"),
        ({"error": 7}, "`error` must be a text"),
    ],
)
def test_what_is_wrong_with_a_case_is_named(value: Any, said: str, tmp_path: Path) -> None:
    """The file, the case and the field."""
    with pytest.raises(ToolInvalid) as caught:
        cases(tmp_path, value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "got", "differences"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, ["$.a: expected 1, got true"]),
        ({"a": 1}, {"a": 2, "b": 3}, ["$.a: expected 1, got 2", "$.b: not expected, got 3"]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, ["$.a.b[1]: expected 2, got 3"]),
        ({"a": 1}, {}, ["$.a: expected 1, it is missing"]),
        ([1], [1, 2], ["$: expected [1], got [1, 2]"]),
        ("ü" * 500, "x", [f'$: expected "{"ü" * 118}…, got "x"']),
        (list(range(20)), [-1] * 20, None),
    ],
)
def test_differences_are_told_by_their_place(
    wanted: Any, got: Any, differences: list[str] | None, tmp_path: Path
) -> None:
    """At most ten of them."""
    (case,) = cases(tmp_path, {"expected": wanted})
    checked = check(case, Outcome(True, got))
    if differences is None:
        assert len(checked.differences) == 11
        assert checked.differences[-1] == "and 10 more"
    else:
        assert list(checked.differences) == differences
    assert checked.passed is (differences == [])


def test_a_part_matches_where_more_is_there(tmp_path: Path) -> None:
    """In objects only."""
    (case,) = cases(tmp_path, {"matches": {"a": {"b": 1}}})
    assert check(case, Outcome(True, {"a": {"b": 1, "c": 2}, "d": 3})).passed
    assert not check(case, Outcome(True, {"a": {"c": 2}})).passed


def test_an_error_is_wanted_by_its_code_or_its_words(tmp_path: Path) -> None:
    """A result where an error is wanted is a difference, and the other way round."""
    (case,) = cases(tmp_path, {"error": "out_of_fuel"})
    assert check(case, Outcome(False, code="out_of_fuel")).passed
    assert check(case, Outcome(False, code="failed", message="it ran out_of_fuel, it says")).passed
    assert check(case, Outcome(False, code="trap", message="m")).differences == (
        "expected the error out_of_fuel, it failed with trap: m",
    )
    assert check(case, Outcome(True, 7)).differences == (
        "expected the error out_of_fuel, got the result 7",
    )
    (case,) = cases(tmp_path, {"expected": 7})
    assert check(case, Outcome(False, code="trap", message="m")).differences == (
        "expected a result, it failed with trap: m",
    )
