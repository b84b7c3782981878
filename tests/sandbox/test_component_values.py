"""JSON to values of WIT types and back, and the schemas that say which JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from component_texts import json_values, types, values
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from sandbox.components import values as conversion
from sandbox.components.schema import schema_of
from sandbox.components.types import (
    Case,
    Enum,
    Flags,
    List,
    Option,
    Primitive,
    Record,
    Result,
    Tuple,
    Type,
    Variant,
    from_plain,
    to_plain,
)
from sandbox.components.values import InvalidValue, from_json, parse, read_fields, to_json

U8, U32, S8, STRING = (Primitive(name) for name in ("u8", "u32", "s8", "string"))

DEEP = Record(
    (
        ("items", List(Record((("name", STRING), ("size", Option(U32)))))),
        ("shape", Variant((("circle", Primitive("f64")), ("none", None)))),
    )
)


def accepts(kind: Type, value: Any) -> bool:
    try:
        from_json(kind, value)
    except InvalidValue:
        return False
    return True


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=types)
def test_a_value_survives_json(data: st.DataObject, kind: Type) -> None:
    """Value to JSON text and back gives the value; the JSON fits the schemas."""
    value = data.draw(values(kind))
    plain = to_json(kind, value)
    assert from_json(kind, parse(json.dumps(plain).encode())) == value
    assert Draft202012Validator(schema_of(kind)).is_valid(plain)
    assert Draft202012Validator(schema_of(kind, result=True)).is_valid(plain)


@settings(max_examples=300, deadline=None)
@given(kind=types, value=json_values)
def test_the_schema_accepts_what_the_reader_accepts(kind: Type, value: Any) -> None:
    """One and the same JSON values, for any type and any JSON."""
    assert Draft202012Validator(schema_of(kind)).is_valid(value) == accepts(kind, value)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=types)
def test_the_schema_accepts_what_the_reader_accepts_near_a_value(
    data: st.DataObject, kind: Type
) -> None:
    """The same for JSON that fits but for one place."""
    plain = to_json(kind, data.draw(values(kind)))
    broken = _changed(plain, data)
    assert Draft202012Validator(schema_of(kind)).is_valid(broken) == accepts(kind, broken)


def _changed(plain: Any, data: st.DataObject) -> Any:
    if isinstance(plain, list) and plain and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(plain) - 1))
        return [*plain[:at], _changed(plain[at], data), *plain[at + 1 :]]
    if isinstance(plain, dict) and plain and data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(plain)))
        return plain | {name: _changed(plain[name], data)}
    return data.draw(json_values)


@settings(max_examples=100, deadline=None)
@given(kind=types)
def test_a_type_survives_its_plain_form(kind: Type) -> None:
    """To JSON text and back; and every schema is a valid schema."""
    assert from_plain(json.loads(json.dumps(to_plain(kind)))) == kind
    Draft202012Validator.check_schema(schema_of(kind))
    Draft202012Validator.check_schema(schema_of(kind, result=True))


@pytest.mark.parametrize(
    ("plain", "path", "words"),
    [
        ({"items": [{"name": "a"}, {"name": 3}]}, "/items/1/name", "3 is not a string"),
        ({"items": [{}]}, "/items/0/name", "missing; give string"),
        ({"items": [{"name": "a", "size": -1}]}, "/items/0/size", "from 0 to 4294967295"),
        ({"items": [{"name": "a", "more": 1}]}, "/items/0/more", "no such field; name, size"),
        ({"items": {}}, "/items", "not an array"),
        ({"items": [], "shape": {"circle": "x"}}, "/shape/circle", '"x" is not a number'),
        ({"items": [], "shape": {"square": 1}}, "/shape", "one key, of circle, none"),
        ({"items": [], "shape": {"none": 1}}, "/shape/none", "this case has no value"),
        ({"items": []}, "/shape", "missing"),
        ([1, 2], "", "an array of 2 items is not an object"),
    ],
)
def test_an_error_names_the_place(plain: Any, path: str, words: str) -> None:
    """As a JSON Pointer, with what was there and what is allowed."""
    with pytest.raises(InvalidValue, match=words) as raised:
        from_json(DEEP, plain)
    assert raised.value.path == path


@pytest.mark.parametrize(
    ("kind", "plain", "value"),
    [
        (List(U8), "aGk=", b"hi"),
        (List(S8), [-128, 127], [-128, 127]),
        (Option(U32), None, Case("none")),
        (Option(Option(U32)), {"some": None}, Case("some", Case("none"))),
        (Option(Option(U32)), {"some": 3}, Case("some", Case("some", 3))),
        (Result(None, STRING), {"ok": None}, Case("ok")),
        (Result(U32, None), {"err": None}, Case("err")),
        (Flags(("read", "write")), ["write"], frozenset({"write"})),
        (Enum(("low", "high")), "high", "high"),
        (Tuple((U32, STRING)), [1, "x"], (1, "x")),
        (Primitive("u64"), 2**64 - 1, 2**64 - 1),
        (Primitive("s64"), -(2**63), -(2**63)),
        (Primitive("u8"), 7.0, 7),
        (Primitive("f32"), 0.1, 0.10000000149011612),
        (Primitive("char"), "𝄞", "𝄞"),
    ],
)
def test_forms(kind: Type, plain: Any, value: Any) -> None:
    """Each type's own form, as the documentation says."""
    assert from_json(kind, plain) == value
    assert from_json(kind, to_json(kind, value)) == value


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (Primitive("u64"), 2**64),
        (Primitive("u64"), 1.8446744073709552e19),
        (Primitive("s8"), 128),
        (Primitive("u32"), True),
        (Primitive("u32"), 1.5),
        (Primitive("u32"), math.inf),
        (Primitive("bool"), 1),
        (Primitive("f32"), 3.5e38),
        (Primitive("f64"), math.inf),
        (Primitive("f64"), 10**400),
        (Primitive("f64"), "NaN"),
        (Primitive("char"), ""),
        (Primitive("char"), "ab"),
        (List(U8), "aGk"),
        (List(U8), "aGk=\n"),
        (List(U8), "aG k="),
        (List(U8), "é==="),
        (List(U8), [1]),
        (Flags(("a", "b")), ["a", "a"]),
        (Flags(("a", "b")), ["c"]),
        (Tuple((U32,)), []),
        (Tuple((U32,)), [1, 2]),
        (Option(Option(U32)), 3),
        (Result(U32, U32), {"ok": 1, "err": 2}),
    ],
)
def test_what_does_not_fit_is_refused_by_both(kind: Type, plain: Any) -> None:
    """By the reader and by the schema."""
    assert not accepts(kind, plain)
    assert not Draft202012Validator(schema_of(kind)).is_valid(plain)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "not JSON"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b"NaN", "NaN is no JSON number"),
        (b"[-Infinity]", "no JSON number"),
        (b"[" * 200_000, "nested too deep"),
        (b"1" * 5_000, "not JSON"),
    ],
)
def test_text_that_is_no_json(text: bytes, words: str) -> None:
    """One clear error each."""
    with pytest.raises(InvalidValue, match=words):
        parse(text)


def test_half_a_surrogate_pair_is_refused() -> None:
    """JSON can hold what is no Unicode text; a guest never sees it."""
    with pytest.raises(InvalidValue, match="surrogate pair at character 1"):
        from_json(STRING, parse(b'"a\\ud800"'))


def test_numbers_that_are_not_finite_come_back_as_words() -> None:
    """JSON has no numbers for them; the schema of results has the words."""
    kind = List(Primitive("f64"))
    told = to_json(kind, [math.nan, math.inf, -math.inf, 1.5])
    assert told == ["NaN", "Infinity", "-Infinity", 1.5]
    assert Draft202012Validator(schema_of(kind, result=True)).is_valid(told)
    assert not Draft202012Validator(schema_of(kind)).is_valid(told)


def test_values_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """All those of one document together."""
    monkeypatch.setattr(conversion, "MOST_VALUES", 5)
    pair = (("a", List(U32)), ("b", List(U32)))
    assert read_fields(pair, {"a": [1], "b": [1, 2]}) == ([1], [1, 2])
    with pytest.raises(InvalidValue, match="more than 5 values") as raised:
        read_fields(pair, {"a": [1], "b": [1, 2, 3]})
    assert raised.value.path == "/b/2"


def test_long_wrong_values_are_cut() -> None:
    """An error stays short, whatever was sent."""
    for wrong in ("x" * 10**6, ["x"] * 10**5, {"k" * 10**5: 1}):
        with pytest.raises(InvalidValue) as raised:
            from_json(Record((("n", U32),)), {"n": wrong})
        assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "plain",
    [
        "u128",
        3,
        None,
        ["list"],
        ["list", None],
        ["tuple", "u8"],
        ["map", ["u8", "u8"]],
        ["record", [["a"]]],
        ["result", ["u8"]],
    ],
)
def test_what_is_no_type_is_refused(plain: Any) -> None:
    """The record of a compiled component is read with care."""
    with pytest.raises(ValueError, match=r"type|unpack"):
        from_plain(plain)
