"""WIT types as JSON Schema 2020-12.

A schema accepts exactly what ``values.from_json`` takes, sizes and text that is not Unicode aside.

| WIT | JSON |
|---|---|
| ``bool`` | true, false |
| ``s8`` … ``u64`` | an integer in its range |
| ``f32``, ``f64`` | a number in its range; in results also "NaN", "Infinity", "-Infinity" |
| ``char`` | a string of one code point |
| ``string`` | a string |
| ``list<u8>`` | base64 |
| ``list<T>``, ``tuple<…>`` | an array |
| ``record`` | an object; fields of type ``option`` may be left out |
| ``variant`` | an object with one key, the case; null where it has no value |
| ``enum`` | its name |
| ``option<T>`` | null or T; ``{"some": T}`` where T may be null itself |
| ``result<T, E>`` | ``{"ok": T}`` or ``{"err": E}`` |
| ``flags`` | an array of names, each once |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sandbox.components.types import (
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
    integer_range,
)

__all__ = ["BASE64", "DIALECT", "FLOAT_RANGE", "NOT_FINITE", "nullable", "object_of", "schema_of"]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

# A dollar alone also stands before a last newline where patterns are Python's.
BASE64: Final = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$(?!\\n)"

FLOAT_RANGE: Final = {"f32": 3.4028234663852886e38, "f64": 1.7976931348623157e308}

NOT_FINITE: Final = ("NaN", "Infinity", "-Infinity")

Schema = dict[str, Any]


def schema_of(kind: Type, *, result: bool = False) -> Schema:
    """The schema of a type, for arguments or, with ``result``, for what comes back."""
    match kind:
        case Primitive(name):
            return _primitive(name, result=result)
        case List(item):
            if kind.is_bytes:
                return {"type": "string", "contentEncoding": "base64", "pattern": BASE64}
            return {"type": "array", "items": schema_of(item, result=result)}
        case Tuple(items):
            return _tuple([schema_of(item, result=result) for item in items])
        case Record(fields):
            return object_of(fields, result=result)
        case Variant(cases):
            return {"oneOf": [_one_key(name, item, result=result) for name, item in cases]}
        case Result(ok, err):
            return {
                "oneOf": [
                    _one_key("ok", ok, result=result),
                    _one_key("err", err, result=result),
                ]
            }
        case Option(item):
            some = schema_of(item, result=result)
            if nullable(item):
                some = _closed({"some": some}, ["some"])
            return {"anyOf": [some, {"type": "null"}]}
        case Enum(names):
            return {"type": "string", "enum": list(names)}
        case Flags(names):
            return {
                "type": "array",
                "items": {"type": "string", "enum": list(names)},
                "uniqueItems": True,
            }


def object_of(fields: Iterable[tuple[str, Type]], *, result: bool = False) -> Schema:
    """The schema of named fields, as of a record or of a function's parameters."""
    fields = tuple(fields)
    return _closed(
        {name: schema_of(item, result=result) for name, item in fields},
        [name for name, item in fields if result or not isinstance(item, Option)],
    )


def nullable(kind: Type) -> bool:
    """Whether null is among the JSON values of a type."""
    return isinstance(kind, Option)


def _primitive(name: str, *, result: bool) -> Schema:
    if name == "bool":
        return {"type": "boolean"}
    if name == "string":
        return {"type": "string"}
    if name == "char":
        return {"type": "string", "minLength": 1, "maxLength": 1}
    if integers := integer_range(name):
        return {"type": "integer", "minimum": integers[0], "maximum": integers[1]}
    greatest = FLOAT_RANGE[name]
    number = {"type": "number", "minimum": -greatest, "maximum": greatest}
    return {"anyOf": [number, {"enum": list(NOT_FINITE)}]} if result else number


def _tuple(items: list[Schema]) -> Schema:
    size = len(items)
    schema: Schema = {"type": "array", "items": False, "minItems": size, "maxItems": size}
    return schema | {"prefixItems": items} if items else schema


def _one_key(name: str, item: Type | None, *, result: bool) -> Schema:
    value = {"type": "null"} if item is None else schema_of(item, result=result)
    return _closed({name: value}, [name])


def _closed(properties: Schema, required: list[str]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
