"""The types of WIT (WebAssembly Interface Types) that can be written as JSON.

Resources, streams, futures and error contexts are handles of a running instance: there is no JSON
for them, and a function that uses one is refused by name.
Source: the component model's ``WIT.md`` and ``Binary.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

__all__ = [
    "MOST_DEPTH",
    "MOST_TYPES",
    "PRIMITIVES",
    "Case",
    "Enum",
    "Flags",
    "List",
    "Option",
    "Primitive",
    "Record",
    "Result",
    "Tuple",
    "Type",
    "TypeRefused",
    "Variant",
    "from_plain",
    "integer_range",
    "to_plain",
]

MOST_DEPTH: Final = 32
"""Deepest nesting of a type."""

MOST_TYPES: Final = 2_000
"""Most types inside one function's type, each use counted: a small binary can describe a type of
exponential size."""

PRIMITIVES: Final = (
    "bool",
    "s8",
    "u8",
    "s16",
    "u16",
    "s32",
    "u32",
    "s64",
    "u64",
    "f32",
    "f64",
    "char",
    "string",
)


class TypeRefused(Exception):
    """A type has no JSON form; ``why`` names it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Primitive:
    """A type without parts; ``name`` is one of ``PRIMITIVES``."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class List:
    """Any number of ``item``."""

    item: Type

    def __str__(self) -> str:
        return f"list<{self.item}>"

    @property
    def is_bytes(self) -> bool:
        """Whether it is ``list<u8>``, whose values are ``bytes``."""
        return self.item == Primitive("u8")


@dataclass(frozen=True, slots=True)
class Record:
    """Named fields in order."""

    fields: tuple[tuple[str, Type], ...]

    def __str__(self) -> str:
        return f"record {{ {', '.join(f'{name}: {item}' for name, item in self.fields)} }}"


@dataclass(frozen=True, slots=True)
class Tuple:
    """Items in order."""

    items: tuple[Type, ...]

    def __str__(self) -> str:
        return f"tuple<{', '.join(map(str, self.items))}>"


@dataclass(frozen=True, slots=True)
class Variant:
    """One of several cases, each with a value or without."""

    cases: tuple[tuple[str, Type | None], ...]

    def __str__(self) -> str:
        told = (name if item is None else f"{name}({item})" for name, item in self.cases)
        return f"variant {{ {', '.join(told)} }}"


@dataclass(frozen=True, slots=True)
class Enum:
    """One of several names."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"enum {{ {', '.join(self.names)} }}"


@dataclass(frozen=True, slots=True)
class Option:
    """A value, or none."""

    item: Type

    def __str__(self) -> str:
        return f"option<{self.item}>"


@dataclass(frozen=True, slots=True)
class Result:
    """Success or failure, each with a value or without."""

    ok: Type | None
    err: Type | None

    def __str__(self) -> str:
        if self.err is None:
            return "result" if self.ok is None else f"result<{self.ok}>"
        return f"result<{'_' if self.ok is None else self.ok}, {self.err}>"


@dataclass(frozen=True, slots=True)
class Flags:
    """Any of several names."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"flags {{ {', '.join(self.names)} }}"


Type: TypeAlias = "Primitive | List | Record | Tuple | Variant | Enum | Option | Result | Flags"


@dataclass(frozen=True, slots=True)
class Case:
    """A value of a variant, an option (``none``, ``some``) or a result (``ok``, ``err``).

    The other values are Python's own: bool, int, float, str (also for enums), ``bytes`` for
    ``list<u8>``, list, a tuple in order for records and tuples, and a frozenset for flags.
    """

    name: str
    value: Any = None


def integer_range(name: str) -> tuple[int, int] | None:
    """The least and the greatest integer of a primitive; None when it is not an integer."""
    if name[0] not in "su" or not name[1:].isdigit():
        return None
    bits = int(name[1:])
    return (0, (1 << bits) - 1) if name[0] == "u" else (-(1 << bits - 1), (1 << bits - 1) - 1)


def to_plain(kind: Type | None) -> object:
    """A type as JSON: a name, or an array of its constructor and its parts."""
    match kind:
        case None:
            return None
        case Primitive(name):
            return name
        case List(item):
            return ["list", to_plain(item)]
        case Option(item):
            return ["option", to_plain(item)]
        case Tuple(items):
            return ["tuple", [to_plain(item) for item in items]]
        case Record(fields):
            return ["record", [[name, to_plain(item)] for name, item in fields]]
        case Variant(cases):
            return ["variant", [[name, to_plain(item)] for name, item in cases]]
        case Result(ok, err):
            return ["result", [to_plain(ok), to_plain(err)]]
        case Enum(names):
            return ["enum", list(names)]
        case Flags(names):
            return ["flags", list(names)]


def from_plain(plain: object) -> Type:
    """Reads ``to_plain``. Raises ``ValueError`` on anything else."""
    if isinstance(plain, str):
        if plain not in PRIMITIVES:
            raise ValueError(f"{plain!r} is not a type")
        return Primitive(plain)
    if not isinstance(plain, list) or len(plain) != 2:
        raise ValueError(f"{plain!r} is not a type")
    maker, parts = plain
    match maker:
        case "list":
            return List(from_plain(parts))
        case "option":
            return Option(from_plain(parts))
    if not isinstance(parts, list):
        raise ValueError(f"{plain!r} is not a type")
    match maker:
        case "tuple":
            return Tuple(tuple(from_plain(item) for item in parts))
        case "record":
            return Record(tuple((str(name), from_plain(item)) for name, item in parts))
        case "variant":
            return Variant(tuple((str(name), _maybe(item)) for name, item in parts))
        case "result":
            ok, err = parts
            return Result(_maybe(ok), _maybe(err))
        case "enum":
            return Enum(tuple(cast("list[str]", parts)))
        case "flags":
            return Flags(tuple(cast("list[str]", parts)))
    raise ValueError(f"{maker!r} is not a type")


def _maybe(plain: object) -> Type | None:
    return None if plain is None else from_plain(plain)
