"""Test cases of a tool: ``tests/*.json``, each a case or a list of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from caxton.errors import ToolInvalid
from caxton.tools.workbench import Outcome

__all__ = ["Case", "Checked", "check", "read_cases"]

CASE_BYTES: Final = 16 * 1024 * 1024
"""Largest file of cases."""
SHOWN: Final = 10
"""Differences of a case that are told at most."""
VALUE_CHARACTERS: Final = 120
"""Characters of a value in a difference."""

KEYS: Final = frozenset({"name", "function", "arguments", "expected", "matches", "error"})
ENDS: Final = ("expected", "matches", "error")


@dataclass(frozen=True, slots=True)
class Case:
    """One call and how it should end.

    ``end`` says how ``wanted`` is compared: ``expected`` is the whole result, ``matches`` a part of
    it (objects may have more keys), ``error`` a code or a part of the message.
    """

    file: Path
    name: str
    arguments: dict[str, Any]
    end: str
    wanted: Any
    function: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """A case and how it ended."""

    case: Case
    outcome: Outcome
    differences: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether it ended as it should."""
        return not self.differences


def read_cases(name: str, files: Iterable[Path]) -> list[Case]:
    """The cases in ``files``.

    Raises:
        ToolInvalid: a file is not readable or a case breaks a rule; it says which and why.
    """
    cases = []
    for file in files:
        try:
            with file.open("rb") as opened:
                data = opened.read(CASE_BYTES + 1)
            if len(data) > CASE_BYTES:
                raise ValueError(f"more than {CASE_BYTES:,} bytes")
            value = json.loads(data)
        except (OSError, ValueError, RecursionError) as error:
            raise ToolInvalid(tool=name, reason=f"{file}: {error}") from error
        given = value if isinstance(value, list) else [value]
        cases += [_case(name, file, index, one) for index, one in enumerate(given)]
    return cases


def _case(tool: str, file: Path, index: int, value: Any) -> Case:
    where = f"{file}, case {index + 1}"
    if not isinstance(value, dict):
        raise ToolInvalid(tool=tool, reason=f"{where} is not a JSON object")
    unknown = sorted(value.keys() - KEYS)
    if unknown:
        raise ToolInvalid(
            tool=tool,
            reason=f"{where}: `{unknown[0]}` is not known; there is {', '.join(sorted(KEYS))}",
        )
    ends = [end for end in ENDS if end in value]
    if len(ends) != 1:
        raise ToolInvalid(
            tool=tool, reason=f"{where} needs one of {', '.join(ENDS)}, it has {len(ends)}"
        )
    arguments = value.get("arguments", {})
    if not isinstance(arguments, dict):
        raise ToolInvalid(tool=tool, reason=f"{where}: `arguments` must be a JSON object")
    for key in ("name", "function", "error"):
        if not isinstance(value.get(key, ""), str):
            raise ToolInvalid(tool=tool, reason=f"{where}: `{key}` must be a text")
    name = value.get("name") or f"{file.stem} {index + 1}"
    return Case(file, name, arguments, ends[0], value[ends[0]], value.get("function", ""))


def check(case: Case, outcome: Outcome) -> Checked:
    """Compare how a call ended with how it should."""
    if case.end == "error":
        differences = _wrong_error(case.wanted, outcome)
    elif not outcome.ok:
        differences = [f"expected a result, it failed with {outcome.code}: {outcome.message}"]
    else:
        differences = list(_differences(case.wanted, outcome.value, "$", case.end == "matches"))
    told = differences[:SHOWN]
    if len(differences) > SHOWN:
        told.append(f"and {len(differences) - SHOWN} more")
    return Checked(case, outcome, tuple(told))


def _wrong_error(wanted: str, outcome: Outcome) -> list[str]:
    if outcome.ok:
        return [f"expected the error {wanted}, got the result {_shown(outcome.value)}"]
    if wanted == outcome.code or (wanted and wanted in outcome.message):
        return []
    return [f"expected the error {wanted}, it failed with {outcome.code}: {outcome.message}"]


def _differences(wanted: Any, got: Any, at: str, part: bool) -> Iterable[str]:
    if isinstance(wanted, dict) and isinstance(got, dict):
        for key, value in wanted.items():
            if key in got:
                yield from _differences(value, got[key], f"{at}.{key}", part)
            else:
                yield f"{at}.{key}: expected {_shown(value)}, it is missing"
        if not part:
            for key in got.keys() - wanted.keys():
                yield f"{at}.{key}: not expected, got {_shown(got[key])}"
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for index, (one, other) in enumerate(zip(wanted, got, strict=True)):
            yield from _differences(one, other, f"{at}[{index}]", part)
    elif not _same(wanted, got):
        yield f"{at}: expected {_shown(wanted)}, got {_shown(got)}"


def _same(wanted: Any, got: Any) -> bool:
    """Equal as JSON: 1 is 1.0, and neither is true."""
    if isinstance(wanted, bool) or isinstance(got, bool):
        return wanted is got
    return bool(wanted == got)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_CHARACTERS else f"{text[: VALUE_CHARACTERS - 1]}…"
