"""What a component exports and imports, told without an engine."""

from __future__ import annotations

import json
import re

import pytest
from component_texts import types
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from sandbox import Reason, SandboxError
from sandbox.components.docs import Docs, custom_section
from sandbox.components.functions import Function, functions_of, is_fixed_world, is_internal
from sandbox.components.types import List, Option, Primitive, Result, Tuple, Type
from sandbox.components.world import (
    HOST,
    HOST_FUNCTIONS,
    check_exports,
    check_import,
    is_wasi,
    tool_wit,
)

STRING, U32 = Primitive("string"), Primitive("u32")
HEADER = b"\0asm\x0d\x00\x01\x00"

DESCRIBE = Function("", "describe", (), STRING)
CALL = Function("", "call", (("input", STRING),), Result(STRING, STRING))


@settings(max_examples=50, deadline=None)
@given(params=st.lists(types, max_size=3), result=st.none() | types, docs=st.text(max_size=20))
def test_a_function_survives_its_text(params: list[Type], result: Type | None, docs: str) -> None:
    """The record of a compiled component holds all of it."""
    named = tuple((f"p{at}", kind) for at, kind in enumerate(params))
    function = Function("a:b/c@1.0.0", "f", named, result, docs)
    assert functions_of([(function.export, function.to_text())]) == (function,)
    Draft202012Validator.check_schema(function.arguments_schema())


def test_a_refused_function_survives_its_text() -> None:
    """With the reason, without types."""
    function = Function("", "make", refused="own: no", docs="Makes.")
    assert functions_of([(function.export, function.to_text())]) == (function,)
    assert str(function) == "make: refused: own: no"


@pytest.mark.parametrize("text", ["[]", "{}", '{"params": 1}', '{"params": [["a"]]}', "{"])
def test_text_that_is_no_function(text: str) -> None:
    """An error, not a wrong function."""
    with pytest.raises(ValueError, match=r"f|unpack|Expecting"):
        functions_of([("f", text)])


def test_schemas_of_a_function() -> None:
    """Arguments by name; options may be left out; the result is what success gives."""
    function = Function("", "f", (("n", U32), ("s", Option(STRING))), Result(List(U32), STRING))
    schema = function.arguments_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["n"]
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"n": 1})
    assert validator.is_valid({"n": 1, "s": None})
    assert not validator.is_valid({"n": 1, "t": 1})
    assert function.result_schema() == {
        "$schema": schema["$schema"],
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 4294967295},
    }
    assert Function("", "f", (), Result(None, STRING)).result_schema() is None
    assert Function("", "f").result_schema() is None
    told = "f: func(n: u32, s: option<string>) -> result<list<u32>, string>"
    assert str(function) == told


@pytest.mark.parametrize(
    ("interface", "name", "tool"),
    [
        ("", "get-time", "get-time"),
        ("local:time/clock@0.1.0", "now", "local_time_clock_now"),
        ("a:b/c", "f", "a_b_c_f"),
        ("x" * 80 + ":b/c@1.0.0", "f", "x" * 58 + "_b_c_f"),
    ],
)
def test_tool_names(interface: str, name: str, tool: str) -> None:
    """Letters, digits, _ and -, at most 64."""
    made = Function(interface, name).tool_name
    assert made == tool
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", made)


def test_the_fixed_world_is_known_by_its_functions() -> None:
    """Both, with their types; whatever else there is."""
    assert is_fixed_world([DESCRIBE, CALL])
    assert is_fixed_world([Function("a:b/c", "call"), DESCRIBE, CALL])
    assert not is_fixed_world([CALL])
    assert not is_fixed_world([DESCRIBE, Function("", "call", (("n", U32),), CALL.result)])
    assert not is_fixed_world([DESCRIBE, Function("", "call", (("s", STRING),), CALL.result)])
    assert not is_fixed_world([DESCRIBE, Function("", "call", CALL.params, STRING)])
    assert not is_fixed_world([DESCRIBE, Function("", "call", refused="own: no")])


def test_what_builders_export_for_themselves_is_hidden() -> None:
    """By name and parameters: a user's own init stays."""
    assert is_internal("", "init", ["shim", "script", "entry-path", "disable-gc"])
    assert not is_internal("", "init", ["name"])
    assert is_internal("exports", "[constructor]function", [])
    assert is_internal("wasi:cli/run@0.2.0", "run", [])
    assert not is_internal("local:exports/api", "run", [])


def test_the_world_and_its_file_say_the_same() -> None:
    """Each function of ``wit/tool.wit`` is offered with its type, and no other."""
    text = tool_wit()
    assert f"package {HOST.partition('/')[0]}@{HOST.partition('@')[2]};" in text
    body = text[text.index("interface host {") : text.index("world tool {")]
    found = {
        name: (params, result.strip())
        for name, params, result in re.findall(
            r"^  ([a-z-]+): func\(([^)]*)\)(?: -> ([^;]+))?;", body, re.MULTILINE
        )
    }
    assert set(found) == set(HOST_FUNCTIONS)
    for name, (params, result) in found.items():
        kinds = ",".join(item.split(": ")[1] for item in params.split(", ") if item)
        assert HOST_FUNCTIONS[name].type == f"func({kinds})->({result})"


@pytest.mark.parametrize(
    ("interface", "known"),
    [
        ("wasi:io/poll@0.2.0", True),
        ("wasi:cli/environment@0.2.12", True),
        ("wasi:random/insecure-seed@0.2.3", True),
        ("wasi:io/poll@0.3.0", False),
        ("wasi:io/poll", False),
        ("wasi:sockets/tcp@0.2.0", False),
        ("wasi:http/types@0.2.0", False),
        ("wasi:clocks/timezone@0.2.0", False),
        ("evil:io/poll@0.2.0", False),
    ],
)
def test_the_parts_of_wasi_that_are_linked(interface: str, known: bool) -> None:
    """Files, clocks, random numbers and the standard streams; never the network."""
    assert is_wasi(interface) is known


def test_an_import_of_the_host_must_have_its_type() -> None:
    """Name, type and rule are in the error."""
    check_import(HOST, "log", "func(u32,string)->()")
    with pytest.raises(SandboxError, match="its type must be") as raised:
        check_import(HOST, "log", "func(string)->()")
    assert raised.value.reason is Reason.UNGRANTED_IMPORT
    assert raised.value.details == {"module": HOST, "name": "log", "type": "func(string)->()"}


def test_a_component_must_export_something_callable() -> None:
    """Refused functions are named with their reasons."""
    check_exports((Function("", "a", refused="own: x"), DESCRIBE))
    with pytest.raises(SandboxError, match=r"a: refused: own: x") as raised:
        check_exports((Function("", "a", refused="own: x"),))
    assert raised.value.reason is Reason.MISSING_EXPORT


def _section(name: str, content: bytes) -> bytes:
    body = bytes([len(name)]) + name.encode() + content
    size, encoded = len(body), b""
    while size > 0x7F:
        encoded += bytes([size & 0x7F | 0x80])
        size >>= 7
    return b"\0" + encoded + bytes([size]) + body


DOCS = {
    "worlds": {
        "w": {
            "funcs": {"a": "The a.", "b": {"docs": " The b. "}},
            "func_exports": {"a": {"docs": "The exported a."}},
            "interfaces": {"plain": {"funcs": {"c": "The plain c."}}},
        }
    },
    "interfaces": {"math": {"funcs": {"add": {"docs": "Adds."}, "sub": {"stability": "x"}}}},
}


@pytest.mark.parametrize(
    ("interface", "name", "docs"),
    [
        ("", "a", "The exported a."),
        ("", "b", "The b."),
        ("", "c", ""),
        ("plain", "c", "The plain c."),
        ("local:calc/math@1.0.0", "add", "Adds."),
        ("local:calc/math", "sub", ""),
        ("local:calc/other", "add", ""),
    ],
)
@pytest.mark.parametrize("version", [0, 1])
def test_descriptions_are_found(version: int, interface: str, name: str, docs: str) -> None:
    """In both versions of the section, for functions of worlds and of interfaces."""
    before = _section("other", b"x" * 300)
    content = bytes([version]) + json.dumps(DOCS).encode()
    assert Docs(HEADER + before + _section("package-docs", content)).of(interface, name) == docs


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x02{}",
        b"\0",
        b"\0[]",
        b'\0{"worlds": []}',
        b'\0{"worlds": {"w": 1}}',
        b"\0" + b"[" * 9999,
    ],
)
def test_other_sections_describe_nothing(content: bytes) -> None:
    """What does not fit is no description and no error."""
    docs = Docs(HEADER + _section("package-docs", content))
    assert docs.of("", "a") == docs.of("x:y/z", "a") == ""


@given(st.binary(max_size=60))
def test_any_bytes_have_sections_or_none(data: bytes) -> None:
    """Reading them ends and raises nothing."""
    found = custom_section(HEADER + data, "package-docs")
    assert found is None or found in data


def test_a_long_description_is_cut() -> None:
    """To 4,000 characters."""
    content = b"\0" + json.dumps({"worlds": {"w": {"funcs": {"a": "x" * 9_000}}}}).encode()
    assert len(Docs(HEADER + _section("package-docs", content)).of("", "a")) == 4_000


def test_types_as_text() -> None:
    """As WIT writes them."""
    assert str(Tuple((U32, Result(None, None), Result(None, U32), Result(U32, None)))) == (
        "tuple<u32, result, result<_, u32>, result<u32>>"
    )
