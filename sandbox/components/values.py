"""JSON to values of WIT types and back. See ``schema`` for the form of each type.

Errors name the place as a JSON Pointer (``/items/3/name``). The number of values is bounded in both
directions; the bytes are their callers' matter.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sandbox.components.schema import FLOAT_RANGE, NOT_FINITE, nullable
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
    integer_range,
)

__all__ = ["MOST_VALUES", "InvalidValue", "from_json", "parse", "read_fields", "to_json"]

MOST_VALUES: Final = 250_000
"""Most values of one call's arguments or result; ``list<u8>`` counts as one."""

SHOWN: Final = 60
"""Longest part of a wrong value or name that is shown, in characters."""

LISTED: Final = 20
"""Most names that an error lists."""


class InvalidValue(ValueError):
    """A JSON value does not fit its type. ``path`` is a JSON Pointer, empty for the whole."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path or 'the value'}: {message}")
        self.path = path
        self.message = message


def parse(data: bytes) -> Any:
    """JSON text as Python values. Raises ``InvalidValue``; NaN and infinities are not JSON."""
    try:
        return json.loads(data.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise InvalidValue("", f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise InvalidValue("", "nested too deep to be read") from None
    except ValueError as error:
        raise InvalidValue("", f"not JSON: {error}") from None


def from_json(kind: Type, value: object, path: str = "") -> Any:
    """The value of type ``kind`` that a JSON value stands for; see ``Case`` for its forms.

    Raises ``InvalidValue`` naming the place.
    """
    return _Reader().read(kind, value, path)


def read_fields(fields: Iterable[tuple[str, Type]], value: object) -> tuple[Any, ...]:
    """The values of a function's parameters out of a JSON object. Raises ``InvalidValue``."""
    return _Reader().fields(fields, value, "")


def to_json(kind: Type, value: Any) -> Any:
    """The JSON value of a value that an engine gave; it fits ``schema_of(kind, result=True)``."""
    match kind:
        case Primitive("f32" | "f64"):
            if math.isfinite(value):
                return value
            return NOT_FINITE[0] if math.isnan(value) else NOT_FINITE[1 if value > 0 else 2]
        case Primitive() | Enum():
            return value
        case List(item):
            if kind.is_bytes:
                return base64.b64encode(value).decode()
            return [to_json(item, each) for each in value]
        case Tuple(items):
            return [to_json(item, each) for item, each in zip(items, value, strict=True)]
        case Record(fields):
            pairs = zip(fields, value, strict=True)
            return {name: to_json(item, each) for (name, item), each in pairs}
        case Variant() | Result():
            payload = dict(_cases(kind))[value.name]
            return {value.name: None if payload is None else to_json(payload, value.value)}
        case Option(item):
            if value.name == "none":
                return None
            some = to_json(item, value.value)
            return {"some": some} if nullable(item) else some
        case Flags(names):
            return [name for name in names if name in value]


class _Reader:
    """Reads one document; counts its values."""

    def __init__(self) -> None:
        self._values = 0

    def read(self, kind: Type, value: object, path: str) -> Any:
        self._values += 1
        if self._values > MOST_VALUES:
            raise InvalidValue(path, f"more than {MOST_VALUES} values; send fewer at once")
        match kind:
            case Primitive(name):
                return self._primitive(name, value, path)
            case List():
                return self._list(kind, value, path)
            case Tuple(items):
                given = _array(value, path)
                if len(given) != len(items):
                    raise InvalidValue(path, f"{len(given)} items; it has {len(items)}")
                pairs = enumerate(zip(items, given, strict=True))
                return tuple(self.read(item, each, f"{path}/{at}") for at, (item, each) in pairs)
            case Record(fields):
                return self.fields(fields, value, path)
            case Variant() | Result():
                return self._case(kind, value, path)
            case Option(item):
                return self._option(item, value, path)
            case Enum(names):
                if isinstance(value, str) and value in names:
                    return value
                raise _wrong(path, value, f"one of {_listed(names)}")
            case Flags(names):
                return _flags(names, value, path)

    def fields(
        self, fields: Iterable[tuple[str, Type]], value: object, path: str
    ) -> tuple[Any, ...]:
        given = dict(_object(value, path))
        read = []
        for name, item in fields:
            if name in given:
                read.append(self.read(item, given.pop(name), f"{path}/{_escaped(name)}"))
            elif isinstance(item, Option):
                read.append(Case("none"))
            else:
                raise InvalidValue(f"{path}/{_escaped(name)}", f"missing; give {_article(item)}")
        if given:
            extra = next(iter(given))
            names = _listed(name for name, _ in fields)
            raise InvalidValue(f"{path}/{_escaped(extra)}", f"there is no such field; {names}")
        return tuple(read)

    def _list(self, kind: List, value: object, path: str) -> list[Any] | bytes:
        if not kind.is_bytes:
            item = kind.item
            given = _array(value, path)
            return [self.read(item, each, f"{path}/{at}") for at, each in enumerate(given)]
        if not isinstance(value, str):
            raise _wrong(path, value, "bytes in base64")
        try:
            return base64.b64decode(value.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise InvalidValue(path, f"not base64: {error}") from None

    def _case(self, kind: Variant | Result, value: object, path: str) -> Case:
        given = _object(value, path)
        cases = dict(_cases(kind))
        if len(given) != 1 or next(iter(given)) not in cases:
            allowed = f"an object with one key, of {_listed(cases)}"
            raise _wrong(path, value, allowed)
        ((name, part),) = given.items()
        item, below = cases[name], f"{path}/{_escaped(name)}"
        if item is not None:
            return Case(name, self.read(item, part, below))
        if part is not None:
            raise _wrong(below, part, "null: this case has no value")
        return Case(name)

    def _option(self, item: Type, value: object, path: str) -> Case:
        if value is None:
            return Case("none")
        if not nullable(item):
            return Case("some", self.read(item, value, path))
        given = _object(value, path)
        if set(given) != {"some"}:
            raise _wrong(path, value, 'null or {"some": …}')
        return Case("some", self.read(item, given["some"], f"{path}/some"))

    def _primitive(self, name: str, value: object, path: str) -> Any:
        if name == "bool":
            if isinstance(value, bool):
                return value
            raise _wrong(path, value, "true or false")
        if name in {"string", "char"}:
            return _text(name, value, path)
        if isinstance(value, bool) or not isinstance(value, int | float):
            number = math.nan
        else:
            number = value
        if integers := integer_range(name):
            low, high = integers
            if low <= number <= high and number == math.floor(number):
                return int(number)
            raise _wrong(path, value, f"an integer from {low} to {high} ({name})")
        greatest = FLOAT_RANGE[name]
        if not -greatest <= number <= greatest:
            raise _wrong(path, value, f"a number from {-greatest} to {greatest} ({name})")
        exact = float(number)
        return exact if name == "f64" else struct.unpack("<f", struct.pack("<f", exact))[0]


def _text(name: str, value: object, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(path, value, "a string" if name == "string" else "a string of one character")
    if name == "char" and len(value) != 1:
        raise InvalidValue(path, f"{len(value)} characters; a char is one")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidValue(
            path, f"half of a surrogate pair at character {error.start}; give whole characters"
        ) from None
    return value


def _flags(names: tuple[str, ...], value: object, path: str) -> frozenset[str]:
    given = _array(value, path)
    seen: set[str] = set()
    for at, name in enumerate(given):
        if not isinstance(name, str) or name not in names:
            raise _wrong(f"{path}/{at}", name, f"one of {_listed(names)}")
        if name in seen:
            raise InvalidValue(f"{path}/{at}", f"{name!r} is there twice")
        seen.add(name)
    return frozenset(seen)


def _cases(kind: Variant | Result) -> tuple[tuple[str, Type | None], ...]:
    return kind.cases if isinstance(kind, Variant) else (("ok", kind.ok), ("err", kind.err))


def _array(value: object, path: str) -> list[Any]:
    if isinstance(value, list):
        return value
    raise _wrong(path, value, "an array")


def _object(value: object, path: str) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise _wrong(path, value, "an object")


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _wrong(path: str, value: object, allowed: str) -> InvalidValue:
    return InvalidValue(path, f"{_shown(value)} is not {allowed}")


def _shown(value: object) -> str:
    match value:
        case str():
            more = "…" if len(value) > SHOWN else ""
            return json.dumps(value[:SHOWN] + more, ensure_ascii=False)
        case list():
            return f"an array of {len(value)} items"
        case dict():
            return f"an object with {_listed(_cut(str(name)) for name in value)}"
        case None | bool() | int() | float():
            return json.dumps(value)
    return type(value).__name__


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (", ".join(names[:LISTED]) or "nothing") + more


def _article(kind: Type) -> str:
    told = str(kind)
    return told if len(told) <= SHOWN else type(kind).__name__.lower()


def _escaped(name: str) -> str:
    return _cut(name).replace("~", "~0").replace("/", "~1")


def _cut(name: str) -> str:
    return name if len(name) <= SHOWN else name[:SHOWN] + "…"
