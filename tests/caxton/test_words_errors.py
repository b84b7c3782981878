"""The error table: complete, stable, safe to show and to send."""

from __future__ import annotations

import pickle
import re
import string

import pytest

from caxton import errors as module
from caxton.errors import (
    ERRORS,
    AgentNotFound,
    CaxtonError,
    InternalError,
    StorageError,
    StorageFull,
    ValidationError,
    error_from_code,
)


def names_of(text: str) -> set[str]:
    """The fields that a text wants."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_each_row_is_whole(code: str) -> None:
    """Code, status, title, text and remedy are there, and the text takes its fields."""
    cls = ERRORS[code]
    assert re.fullmatch(r"[A-Z][A-Z_]+", code)
    assert cls.code == code
    assert 400 <= cls.status < 600
    assert cls.title
    assert cls.remedy.endswith((".", "`."))
    assert cls.__doc__
    error = error_from_code(code, dict.fromkeys(names_of(cls.text), "v"))
    assert type(error) is cls
    assert "{" not in str(error)


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_errors_travel_between_processes(code: str) -> None:
    """By pickle and by code, an error keeps its class, text and fields."""
    error = error_from_code(code, dict.fromkeys(names_of(ERRORS[code].text), "v"))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.fields == error.fields


def test_an_unknown_code_is_a_fault_of_ours() -> None:
    """Nothing from elsewhere makes a class of its own."""
    assert type(error_from_code("NO_SUCH_CODE", {"reason": "x"})) is InternalError


def test_a_missing_field_does_not_hide_the_error() -> None:
    """The text falls back to the title and what is known."""
    error = AgentNotFound(agent="x")
    assert "Agent not found" in str(error)
    assert "agent='x'" in str(error)


def test_long_values_are_cut() -> None:
    """An error never echoes a whole body."""
    error = ValidationError(field="f", value="x" * 5_000, allowed="less")
    assert len(str(error)) < 200


def test_values_that_do_not_print_are_shown_quoted() -> None:
    """No control character of an input reaches a terminal."""
    error = ValidationError(field="f", value="a\x1b[2Jb", allowed="text")
    assert "\x1b" not in str(error)


def test_a_code_cannot_be_taken_twice() -> None:
    """Codes are stable and unique."""
    with pytest.raises(TypeError, match="defined twice"):

        class Second(CaxtonError):
            """Another one."""

            code = "AGENT_NOT_FOUND"


def test_the_tree_catches_by_branch() -> None:
    """A full store is a storage error."""
    assert issubclass(StorageFull, StorageError)
    assert all(issubclass(cls, CaxtonError) for cls in ERRORS.values())


def test_all_is_sorted_and_complete() -> None:
    """``__all__`` names what the module offers, no more and no less."""
    classes = {
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, CaxtonError)
    }
    assert set(module.__all__) == classes | {"ERRORS", "error_from_code"}
